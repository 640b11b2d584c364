//! Triton's flags that mean nothing here: accepted with a warning where dropping them only costs a comfort, refused
//! where the operator would rely on what does not happen.

/// Flags that are dropped, with the reason. Each takes a value.
const DROPPED: &[(&str, &str)] = &[
    ("allow-cpu-metrics", "the metrics of the CPU are the operating system's"),
    ("allow-gpu-metrics", "the metrics of a GPU are its driver's"),
    ("backend-config", "there is one backend; a model's settings are in its punctual.toml"),
    ("backend-directory", "there is one backend; see --onnxruntime"),
    ("buffer-manager-thread-count", "an executor's thread copies its own buffers"),
    ("cuda-memory-pool-byte-size", "there is no such pool"),
    ("cuda-virtual-address-size", "there is no such pool"),
    ("grpc-infer-allocation-pool-size", "there is no such pool"),
    ("grpc-infer-thread-count", "HTTP and gRPC share --io-threads"),
    ("grpc-max-response-pool-size", "there is no such pool"),
    ("host-policy", "see --device"),
    ("http-thread-count", "HTTP and gRPC share --io-threads"),
    ("metrics-config", "every metric has its fixed form"),
    ("metrics-interval-ms", "metrics are made when they are asked for"),
    ("min-supported-compute-capability", "see --device"),
    ("model-load-gpu-limit", "no model is loaded on a GPU that --device does not name"),
    ("model-load-retry-count", "a load is not tried again until the model's files change"),
    ("pinned-memory-pool-byte-size", "there is no such pool"),
    ("rate-limit", "an executor runs one batch at a time; see --device"),
    ("rate-limit-resource", "an executor runs one batch at a time; see --device"),
    ("repoagent-directory", "there are no repository agents"),
    ("reuse-grpc-port", "a port belongs to one server"),
    ("reuse-http-port", "a port belongs to one server"),
    ("trace-config", "see --log-verbose and --record"),
];

/// Where answers are kept.
const CACHE: &str =
    "each model has a cache of its own: `cache = \"64MiB\"` in its punctual.toml (docs/cache.md)";

/// Flags that are refused, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("allow-client-shm", "shared memory is not supported"),
    ("cache-config", CACHE),
    ("cache-directory", CACHE),
    ("grpc-header-forward-pattern", "headers are not forwarded to models"),
    ("grpc-restricted-protocol", "every client may use every call; put a proxy in front"),
    ("grpc-root-cert", "connections are not encrypted; put a proxy in front"),
    ("grpc-server-cert", "connections are not encrypted; put a proxy in front"),
    ("grpc-server-key", "connections are not encrypted; put a proxy in front"),
    ("grpc-use-ssl", "connections are not encrypted; put a proxy in front"),
    ("grpc-use-ssl-mutual", "connections are not encrypted; put a proxy in front"),
    ("http-header-forward-pattern", "headers are not forwarded to models"),
    ("http-restricted-api", "every client may use every call; put a proxy in front"),
    ("model-namespacing", "model names are unique over all repositories"),
];

/// Prefixes of groups of flags that are dropped: the connection settings of Triton's own gRPC library.
const DROPPED_GROUPS: &[&str] = &["grpc-keepalive-", "grpc-http2-", "grpc-max-connection-age"];

/// The arguments without Triton's flags that mean nothing here, and a sentence on each of those.
///
/// # Errors
/// A sentence on a flag that must not be dropped.
pub fn without_triton_flags(
    arguments: impl Iterator<Item = String>,
) -> Result<(Vec<String>, Vec<String>), String> {
    let mut kept = Vec::new();
    let mut warnings = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.strip_prefix("--") else {
            kept.push(argument);
            continue;
        };
        let (name, valued) =
            flag.split_once('=').map_or((flag, false), |(name, _value)| (name, true));
        if let Some((_, reason)) = REFUSED.iter().find(|(flag, _)| *flag == name) {
            return Err(format!("--{name} is Triton's and cannot be followed: {reason}"));
        }
        let Some(reason) = dropped(name) else {
            kept.push(argument);
            continue;
        };
        warnings.push(format!("--{name} is Triton's and has no effect: {reason}"));
        if !valued {
            arguments.next_if(|value| !value.starts_with("--"));
        }
    }
    Ok((kept, warnings))
}

fn dropped(name: &str) -> Option<&'static str> {
    if DROPPED_GROUPS.iter().any(|group| name.starts_with(group)) {
        return Some("connections are kept alive as the client asks");
    }
    DROPPED.iter().find(|(flag, _)| *flag == name).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Result<(Vec<String>, Vec<String>), String> {
        without_triton_flags(text.split(' ').map(str::to_owned))
    }

    #[test]
    fn flags_without_meaning_are_dropped_with_their_values_and_a_warning() {
        let (kept, warnings) = split(
            "serve --rate-limit off --id=a --host-policy=x --grpc-keepalive-time 5 --http-port 1",
        )
        .unwrap();
        assert_eq!(kept, ["serve", "--id=a", "--http-port", "1"]);
        assert_eq!(warnings.len(), 3);
        assert!(warnings[0].contains("--rate-limit "), "{}", warnings[0]);
    }

    #[test]
    fn flags_that_an_operator_would_rely_on_are_refused() {
        let error = split("serve --grpc-use-ssl=true").unwrap_err();
        assert!(error.contains("--grpc-use-ssl") && error.contains("proxy"), "{error}");
        let error = split("serve --cache-config local,size=1048576").unwrap_err();
        assert!(error.contains("`cache = \"64MiB\"` in its punctual.toml"), "{error}");
    }

    #[test]
    fn the_tables_are_in_order_and_do_not_overlap() {
        let names = |table: &[(&'static str, &str)]| -> Vec<_> {
            table.iter().map(|(name, _)| *name).collect()
        };
        for table in [names(DROPPED), names(REFUSED)] {
            assert!(table.is_sorted());
        }
        assert!(names(REFUSED).iter().all(|name| dropped(name).is_none()));
    }
}
