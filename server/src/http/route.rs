//! Paths of the protocol. Whatever stands before the first `/v2` is a base path, and ignored.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/v2`
    Server,
    /// `/v2/health/live`
    Live,
    /// `/v2/health/ready`
    Ready,
    /// `/v2/models`
    Models,
    /// `/v2/models/stats`
    AllStatistics,
    /// `/v2/models/{name}[/versions/{version}][/...]`
    Model {
        /// The model's name, decoded.
        name: Cow<'a, str>,
        /// The version, decoded.
        version: Option<Cow<'a, str>>,
        /// What is asked of it.
        aspect: Aspect,
    },
    /// `/v2/tasks/{name}`
    Task(Cow<'a, str>),
    /// `/v2/tasks/{name}/feedback`
    Feedback(Cow<'a, str>),
    /// `/v2/repository/index`
    Index,
    /// `/v2/repository/models/{name}/load`
    Load(Cow<'a, str>),
    /// `/v2/repository/models/{name}/unload`
    Unload(Cow<'a, str>),
    /// The same below `/v2/repository/{repository}`: Triton refuses a named repository too.
    NamedRepository,
    /// `/v2/logging`
    Logging,
    /// `/v2/trace/setting`, also of one model.
    Trace,
    /// `/v2/{system,cuda}sharedmemory[/region/{name}]/status`
    SharedMemoryStatus,
    /// `/v2/{system,cuda}sharedmemory/region/{name}/register`
    SharedMemoryRegister,
    /// `/v2/{system,cuda}sharedmemory[/region/{name}]/unregister`
    SharedMemoryUnregister,
}

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the protocol's own words")]
pub enum Aspect {
    Metadata,
    Ready,
    Config,
    Statistics,
    Profile,
    Infer,
    Generate,
}

/// More segments than the longest path of the protocol has.
const SEGMENTS_MAX: usize = 8;

impl<'a> Route<'a> {
    /// The meaning of a path, or none.
    #[must_use]
    pub fn parse(path: &'a str) -> Option<Self> {
        let mut segments = [""; SEGMENTS_MAX];
        let mut count = 0;
        for segment in below_v2(path)?.split('/').skip(1) {
            *segments.get_mut(count)? = segment;
            count += 1;
        }
        match &segments[..count] {
            [] => Some(Self::Server),
            ["health", "live"] => Some(Self::Live),
            ["health", "ready"] => Some(Self::Ready),
            ["models"] => Some(Self::Models),
            ["models", "stats"] => Some(Self::AllStatistics),
            ["models", name, "versions", version, rest @ ..] => {
                Self::model(name, Some(version), rest)
            }
            ["models", name, rest @ ..] => Self::model(name, None, rest),
            ["tasks", name] => Some(Self::Task(decoded(name)?)),
            ["tasks", name, "feedback"] => Some(Self::Feedback(decoded(name)?)),
            ["repository", "index"] => Some(Self::Index),
            ["repository", "models", name, "load"] => Some(Self::Load(decoded(name)?)),
            ["repository", "models", name, "unload"] => Some(Self::Unload(decoded(name)?)),
            ["repository", _, "index"] | ["repository", _, "models", _, "load" | "unload"] => {
                Some(Self::NamedRepository)
            }
            ["logging"] => Some(Self::Logging),
            ["trace", "setting"] => Some(Self::Trace),
            ["systemsharedmemory" | "cudasharedmemory", rest @ ..] => match rest {
                ["status"] | ["region", _, "status"] => Some(Self::SharedMemoryStatus),
                ["unregister"] | ["region", _, "unregister"] => Some(Self::SharedMemoryUnregister),
                ["region", _, "register"] => Some(Self::SharedMemoryRegister),
                _ => None,
            },
            _ => None,
        }
    }

    fn model(name: &'a str, version: Option<&&'a str>, rest: &[&str]) -> Option<Self> {
        let aspect = match rest {
            [] => Aspect::Metadata,
            ["ready"] => Aspect::Ready,
            ["config"] => Aspect::Config,
            ["stats"] => Aspect::Statistics,
            ["profile"] => Aspect::Profile,
            ["infer"] => Aspect::Infer,
            ["generate" | "generate_stream"] => Aspect::Generate,
            ["trace", "setting"] => return Some(Self::Trace),
            _ => return None,
        };
        let version = match version {
            Some(version) => Some(decoded(version)?),
            None => None,
        };
        Some(Self::Model { name: decoded(name)?, version, aspect })
    }

    /// The methods that the route answers, as the `Allow` header lists them.
    #[must_use]
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Server
            | Self::Live
            | Self::Ready
            | Self::Models
            | Self::AllStatistics
            | Self::Task(_)
            | Self::SharedMemoryStatus => "GET",
            Self::Model { aspect, .. } => match aspect {
                Aspect::Metadata
                | Aspect::Ready
                | Aspect::Config
                | Aspect::Statistics
                | Aspect::Profile => "GET",
                Aspect::Infer | Aspect::Generate => "POST",
            },
            Self::Logging | Self::Trace => "GET, POST",
            Self::Index
            | Self::Feedback(_)
            | Self::Load(_)
            | Self::Unload(_)
            | Self::NamedRepository
            | Self::SharedMemoryRegister
            | Self::SharedMemoryUnregister => "POST",
        }
    }
}

/// The path from after the first segment `v2`.
fn below_v2(path: &str) -> Option<&str> {
    path.match_indices("/v2")
        .map(|(at, found)| &path[at + found.len()..])
        .find(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    if segment.is_empty() {
        return None;
    }
    percent_decode_str(segment).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(
        name: &'static str,
        version: Option<&'static str>,
        aspect: Aspect,
    ) -> Option<Route<'static>> {
        Some(Route::Model { name: name.into(), version: version.map(Into::into), aspect })
    }

    #[test]
    fn every_path_of_the_protocol_has_its_route() {
        let cases = [
            ("/v2", Some(Route::Server)),
            ("/v2/health/live", Some(Route::Live)),
            ("/v2/health/ready", Some(Route::Ready)),
            ("/v2/models", Some(Route::Models)),
            ("/v2/models/stats", Some(Route::AllStatistics)),
            ("/v2/models/m", model("m", None, Aspect::Metadata)),
            ("/v2/models/m/versions/3", model("m", Some("3"), Aspect::Metadata)),
            ("/v2/models/m/versions/3/ready", model("m", Some("3"), Aspect::Ready)),
            ("/v2/models/m/ready", model("m", None, Aspect::Ready)),
            ("/v2/models/m/config", model("m", None, Aspect::Config)),
            ("/v2/models/m/stats", model("m", None, Aspect::Statistics)),
            ("/v2/models/m/profile", model("m", None, Aspect::Profile)),
            ("/v2/models/m/versions/3/infer", model("m", Some("3"), Aspect::Infer)),
            ("/v2/models/m/generate_stream", model("m", None, Aspect::Generate)),
            ("/v2/models/m/trace/setting", Some(Route::Trace)),
            ("/v2/trace/setting", Some(Route::Trace)),
            ("/v2/tasks/t", Some(Route::Task("t".into()))),
            ("/v2/tasks/t/feedback", Some(Route::Feedback("t".into()))),
            ("/v2/repository/index", Some(Route::Index)),
            ("/v2/repository/r/index", Some(Route::NamedRepository)),
            ("/v2/repository/models/m/load", Some(Route::Load("m".into()))),
            ("/v2/repository/models/m/unload", Some(Route::Unload("m".into()))),
            ("/v2/logging", Some(Route::Logging)),
            ("/v2/systemsharedmemory/status", Some(Route::SharedMemoryStatus)),
            ("/v2/cudasharedmemory/region/r/status", Some(Route::SharedMemoryStatus)),
            ("/v2/cudasharedmemory/region/r/register", Some(Route::SharedMemoryRegister)),
            ("/v2/systemsharedmemory/unregister", Some(Route::SharedMemoryUnregister)),
            ("/v2/cudasharedmemory/region/r/unregister", Some(Route::SharedMemoryUnregister)),
        ];
        for (path, route) in cases {
            assert_eq!(Route::parse(path), route, "{path}");
        }
    }

    #[test]
    fn names_are_decoded_and_a_base_path_may_come_first() {
        assert_eq!(
            Route::parse("/v2/models/a%20%C3%A9%2Fb/infer"),
            model("a é/b", None, Aspect::Infer)
        );
        assert_eq!(Route::parse("/proxy/v2x/v2/models/v2/infer"), model("v2", None, Aspect::Infer));
        assert_eq!(Route::parse("/base/v2"), Some(Route::Server));
    }

    #[test]
    fn any_other_path_has_no_route() {
        for path in [
            "/",
            "",
            "/metrics",
            "/v2/",
            "/v3",
            "/v2/models/",
            "/v2/models//infer",
            "/v2/models/m/infer/",
            "/v2/models/%ff/infer",
            "/v2/health",
            "/v2/models/m/versions/1/2/3/4/5/6/7",
            "/v2x",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }
}
