//! `punctual`: the server and its tools.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Parser;
use server::cli::serve::{Server, THREADS_TIMEOUT};
use server::cli::{Cli, Command, evaluate, fit, profile, variants};
use server::config::triton::without_triton_flags;
use server::config::{Config, Flags};
use server::cores;
use server::logging::Logging;

mod memory;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let code = run().unwrap_or_else(|reason| {
        complain(&reason);
        FAILURE
    });
    // Whoever reads the output may be gone, which changes nothing.
    let _ = std::io::stdout().flush();
    gpu::leave::leave(code)
}

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;

fn run() -> Result<u8, String> {
    let (arguments, warnings) = without_triton_flags(std::env::args())?;
    match Cli::parse_from(arguments).command {
        Command::Serve(flags) => serve(&flags, &warnings),
        Command::Profile(args) => {
            say(profile::profile(&args)?.trim_end());
            Ok(SUCCESS)
        }
        Command::Variants(command) => {
            say(variants::variants(&command)?.trim_end());
            Ok(SUCCESS)
        }
        Command::Evaluate(args) => {
            say(evaluate::evaluate(&args)?.trim_end());
            Ok(SUCCESS)
        }
        Command::Fit(args) => {
            say(fit::fit(&args)?.trim_end());
            Ok(SUCCESS)
        }
    }
}

fn serve(flags: &Flags, warnings: &[String]) -> Result<u8, String> {
    let config = Config::read(flags).map_err(|error| error.to_string())?;
    let (subscriber, logging) = Logging::new(config.log.clone())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    memory::make_ready(config.memory_ready);
    let server = Server::build(config, &logging, cache_folder().as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(server.io_threads)
        .thread_name("io")
        .on_thread_start({
            let cores = server.io_cores.clone();
            move || cores::keep_to(&cores)
        })
        .enable_all()
        .build()
        .map_err(|error| format!("the system gives no thread: {error}"))?;
    let exit = runtime.block_on(server.run(say));
    // Connections that did not end in time are closed with the process.
    runtime.shutdown_timeout(THREADS_TIMEOUT);
    Ok(exit?.code())
}

/// The user's folder for caches, by the XDG convention.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))
}

#[expect(clippy::print_stdout, reason = "the program's own output")]
fn say(line: &str) {
    println!("{line}");
}

fn complain(reason: &str) {
    eprintln!("punctual: {reason}");
}
