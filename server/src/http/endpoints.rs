//! What each route answers: translation between HTTP and [`Service`], no decisions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{self, Body};
use super::body::{self, BodyLimits, Received};
use super::coding::Coding;
use super::decode::{self, Envelope};
use super::encode;
use super::feedback;
use super::route::{Aspect, Route};
use super::words::{Object, Whole};
use crate::owed::{Owed, Promise};
use crate::service::{LoadOverrides, LogSettings, Service};
use crate::status::Failure;

/// Answers one request, whose body arrives within a time; once it has, the answer is `owed`.
pub async fn answer<B>(
    service: &Service,
    request: Request<B>,
    body_timeout: Duration,
    owed: &Arc<Owed>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut promise = None;
    let response = respond(service, request, (body_timeout, owed), &mut promise).await;
    response.map(|body| body.owed(promise.unwrap_or_else(|| owed.promise())))
}

async fn respond<B>(
    service: &Service,
    request: Request<B>,
    (body_timeout, owed): (Duration, &Arc<Owed>),
    promise: &mut Option<Promise>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let (head, body) = request.into_parts();
    let Some(route) = Route::parse(head.uri.path()) else {
        return answer::failure(&Failure::NotFound(format!(
            "there is nothing at '{}'",
            head.uri.path()
        )));
    };
    let post = match &head.method {
        method if *method == Method::GET => false,
        method if *method == Method::POST => true,
        _ => return answer::method_not_allowed(route.methods()),
    };
    if !route.methods().contains(head.method.as_str()) {
        return answer::method_not_allowed(route.methods());
    }
    if !post {
        return look_up(service, route).unwrap_or_else(|failure| answer::failure(&failure));
    }
    let limits = BodyLimits {
        bytes_max: service.body_bytes_max(),
        timeout: body_timeout,
        budget: owed.budget(),
    };
    let received = match body::receive(&head.headers, body, limits).await {
        Ok(received) => received,
        Err(failure) => return answer::failure(&failure),
    };
    *promise = Some(owed.promise());
    act(service, route, &head.headers, received)
        .await
        .unwrap_or_else(|failure| answer::failure(&failure))
}

/// The routes that only tell.
fn look_up(service: &Service, route: Route<'_>) -> Result<Response<Body>, Failure> {
    match route {
        Route::Server => Ok(ok(&service.metadata())),
        Route::Live => Ok(health("live", service.live())),
        Route::Ready => Ok(health("ready", service.ready())),
        Route::Models => Ok(ok(&One("models", service.model_names()))),
        Route::AllStatistics => Ok(ok(&One("model_stats", service.statistics(None, None)?))),
        Route::Model { name, version, aspect } => {
            look_up_model(service, &name, version.as_deref(), aspect)
        }
        Route::Task(name) => Ok(ok(&service.task_json(&name)?)),
        Route::Logging => Ok(ok(&service.logging())),
        Route::SharedMemoryStatus => Ok(ok(&[(); 0])),
        Route::Trace => Err(unsupported("tracing")),
        Route::Index
        | Route::Feedback(_)
        | Route::Load(_)
        | Route::Unload(_)
        | Route::NamedRepository
        | Route::SharedMemoryRegister
        | Route::SharedMemoryUnregister => Err(Failure::Method),
    }
}

fn look_up_model(
    service: &Service,
    name: &str,
    version: Option<&str>,
    aspect: Aspect,
) -> Result<Response<Body>, Failure> {
    match aspect {
        Aspect::Metadata => Ok(ok(&service.model_metadata(name, version)?)),
        Aspect::Ready => {
            let ready = service.model_ready(name, version);
            Ok(answer::json(status_of(ready), &ModelReady { name, ready }))
        }
        Aspect::Config => Ok(ok(&service.model_config_json(name, version)?)),
        Aspect::Statistics => Ok(ok(&One("model_stats", service.statistics(Some(name), version)?))),
        Aspect::Profile => Ok(ok(&service.profile_json(name, version)?)),
        Aspect::Infer | Aspect::Generate => Err(Failure::Method),
    }
}

/// The routes that do something.
async fn act(
    service: &Service,
    route: Route<'_>,
    headers: &HeaderMap,
    body: Received,
) -> Result<Response<Body>, Failure> {
    match route {
        Route::Model { name, version, aspect: Aspect::Infer } => {
            let envelope = Envelope::new(name.into_owned(), version.map(Cow::into_owned), headers)?;
            infer(service, envelope, headers, body).await
        }
        Route::Model { aspect: Aspect::Generate, .. } => Err(unsupported("the generate extension")),
        Route::Index => {
            let filter: IndexFilter = optional(&body.bytes)?;
            Ok(ok(&service.index(filter.ready)))
        }
        Route::Feedback(task) => {
            service.feedback(&task, &feedback::read(&body.bytes)?)?;
            Ok(answer::empty())
        }
        Route::Load(name) => {
            let overrides = load_overrides(&body.bytes)?;
            service.load(&name, overrides).await?;
            Ok(answer::empty())
        }
        Route::Unload(name) => {
            service.unload(&name).await?;
            Ok(answer::empty())
        }
        Route::NamedRepository => Err(unsupported("a repository by name")),
        Route::Logging => {
            let change: LogChange = optional(&body.bytes)?;
            Ok(ok(&service.set_logging(change.apply(service.logging())?)?))
        }
        // Nothing is ever registered, so there is nothing to do: clients unregister everything before they start.
        Route::SharedMemoryUnregister => Ok(answer::empty()),
        Route::SharedMemoryRegister => Err(unsupported("shared memory")),
        Route::Trace => Err(unsupported("tracing")),
        Route::Server
        | Route::Live
        | Route::Ready
        | Route::Models
        | Route::AllStatistics
        | Route::Task(_)
        | Route::SharedMemoryStatus
        | Route::Model {
            aspect:
                Aspect::Metadata | Aspect::Ready | Aspect::Config | Aspect::Statistics | Aspect::Profile,
            ..
        } => Err(Failure::Method),
    }
}

async fn infer(
    service: &Service,
    envelope: Envelope,
    headers: &HeaderMap,
    body: Received,
) -> Result<Response<Body>, Failure> {
    let bytes = body.bytes.clone();
    let (request, forms) =
        body::off_thread(bytes.len(), move || decode::decode(envelope, &bytes)).await?;
    let response = service.infer(request).await?;
    let timing = service.timing_headers().then_some(response.timing);
    let encoded = encode::encode(&response, &forms)?;
    let mut answer = answer::inference(encoded, Coding::accepted(headers), timing);
    answer::insert_told(answer.headers_mut(), &response);
    Ok(answer)
}

fn ok(value: &impl Serialize) -> Response<Body> {
    answer::json(StatusCode::OK, value)
}

/// 503 where a thing is not ready: probes take any status but 2xx, and KServe says 503 too.
fn status_of(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn health(key: &'static str, good: bool) -> Response<Body> {
    answer::json(status_of(good), &One(key, good))
}

fn unsupported(what: &str) -> Failure {
    Failure::Unsupported(format!("{what} is not supported by this server"))
}

/// An object with one key.
struct One<T>(&'static str, T);

impl<T: Serialize> Serialize for One<T> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map([(self.0, &self.1)])
    }
}

#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
}

/// A body that may be left out.
fn optional<'a, T: Deserialize<'a> + Default>(body: &'a [u8]) -> Result<T, Failure> {
    if body.is_empty() { Ok(T::default()) } else { super::json(body) }
}

#[derive(Default, Deserialize)]
struct IndexFilter {
    #[serde(default)]
    ready: bool,
}

/// The settings to change; those left out stay.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogChange {
    log_file: Option<String>,
    log_info: Option<bool>,
    log_warning: Option<bool>,
    log_error: Option<bool>,
    log_verbose_level: Option<Whole>,
    log_format: Option<String>,
}

impl LogChange {
    fn apply(self, now: LogSettings) -> Result<LogSettings, Failure> {
        let level = self.log_verbose_level.map(|Whole(level)| {
            u32::try_from(level).map_err(|_| {
                let sentence =
                    format!("'log_verbose_level' is 0 or a small whole number, got: {level}");
                Failure::Invalid(sentence)
            })
        });
        Ok(LogSettings {
            log_file: self.log_file.unwrap_or(now.log_file),
            log_info: self.log_info.unwrap_or(now.log_info),
            log_warning: self.log_warning.unwrap_or(now.log_warning),
            log_error: self.log_error.unwrap_or(now.log_error),
            log_verbose_level: level.transpose()?.unwrap_or(now.log_verbose_level),
            log_format: self.log_format.unwrap_or(now.log_format),
        })
    }
}

#[derive(Default, Deserialize)]
struct LoadBody {
    parameters: Option<Object<BTreeMap<String, Value>>>,
}

/// Reads the body of a load request.
///
/// # Errors
/// Unknown parameters, files without a configuration, files that are not base64.
pub fn load_overrides(body: &[u8]) -> Result<LoadOverrides, Failure> {
    let mut overrides = LoadOverrides::default();
    let parameters = optional::<LoadBody>(body)?.parameters.map(|Object(parameters)| parameters);
    for (key, value) in parameters.unwrap_or_default() {
        let Value::String(text) = value else {
            return Err(Failure::Invalid(format!("load parameter '{key}' must be a string")));
        };
        if key == "config" {
            overrides.config = Some(text);
        } else if let Some(path) = key.strip_prefix("file:") {
            let file = STANDARD.decode(text).map_err(|error| {
                Failure::Invalid(format!("load parameter '{key}' is not base64: {error}"))
            })?;
            overrides.files.push((path.to_owned(), file.into()));
        } else {
            return Err(Failure::Invalid(format!(
                "unknown load parameter '{key}': 'config' and 'file:<path>' are known"
            )));
        }
    }
    if overrides.config.is_none() && !overrides.files.is_empty() {
        return Err(Failure::Invalid(
            "load parameters 'file:<path>' need the parameter 'config' too".to_owned(),
        ));
    }
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_takes_a_configuration_and_files() {
        let overrides =
            load_overrides(br#"{"parameters":{"file:1/model.onnx":"YWJj","config":"{}"}}"#)
                .unwrap();
        assert_eq!(overrides.config.as_deref(), Some("{}"));
        assert_eq!(overrides.files, [("1/model.onnx".to_owned(), Bytes::from_static(b"abc"))]);
        assert!(load_overrides(b"").unwrap().files.is_empty());
    }

    #[test]
    fn load_refuses_what_it_does_not_understand() {
        let cases: [(&str, &str); 5] = [
            (r#"{"parameters":{"file:a":"YWJj"}}"#, "need the parameter 'config'"),
            (r#"{"parameters":{"file:a":"?","config":""}}"#, "is not base64"),
            (r#"{"parameters":{"config":{}}}"#, "must be a string"),
            (r#"{"parameters":{"colour":"red"}}"#, "unknown load parameter 'colour'"),
            ("[", "failed to parse"),
        ];
        for (body, part) in cases {
            let failure = load_overrides(body.as_bytes()).unwrap_err();
            assert!(failure.to_string().contains(part), "{body}: {failure}");
        }
    }
}
