//! `bootstrap serve`: a local Lambda endpoint for the AWS CLI, SDKs, curl and the browser.
//!
//! ```text
//!     server ---> api ----> fleet ---> environments, each with a runtime of its own
//!                  | |        ^
//!     name, call,  | |-> events   those whose callers don't wait
//!     body --------' |-> frames   streamed answers for SDKs
//!                    '-> page     the function URL, for browsers
//! ```

pub mod api;
pub mod body;
pub mod call;
pub mod events;
pub mod exception;
pub mod fleet;
pub mod frames;
pub mod name;
pub mod page;
pub mod patience;
pub mod server;
pub mod watch;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::net::TcpListener;

use self::api::Api;
use self::body::Room;
use self::events::Events;
use self::fleet::Fleet;
use self::watch::Watch;
use super::console::{Console, Progress};
use super::function::Function;
use super::{id, invoke};
use crate::{cli, signal};

/// How long the last lines may take to come out: nobody may be reading.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the command until a signal ends it. The exit status: 128 and the signal's number.
///
/// # Errors
/// A [`cli::UsageError`], or a fault of this machine's.
pub fn run(options: &cli::Serve) -> anyhow::Result<ExitCode> {
    let directory = std::env::current_dir().context("can't tell the current directory")?;
    let stream = id::hex().context("no random bytes")?;
    let name = options.function_name.as_deref();
    let function =
        Function::new(&options.function, name, 1, std::env::vars_os(), directory.as_os_str(), SystemTime::now(), &stream)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start an event loop")?;
    let status = runtime.block_on(serve(options, Arc::new(function)));
    // A thread may still be blocked in a write.
    runtime.shutdown_background();
    status.map(ExitCode::from)
}

async fn serve(options: &cli::Serve, function: Arc<Function>) -> anyhow::Result<u8> {
    let stop = signal::stop().context("can't listen to signals")?;
    let watch = Watch::new(options.watch.clone())
        .map_err(|path| cli::UsageError::new(format!("--watch {}: there is no such file or folder", path.display())))?;
    let listen = options.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("can't listen on {listen}; --listen ADDRESS names another address, with port 0 for any free port")
    })?;
    let address = listener.local_addr().context("can't tell the address")?;
    let console = Console::start(Progress::Off).context("can't start a thread")?;
    console.note(greeting(&function.name, address)).await;
    if !address.ip().is_loopback() {
        console.note(format!("bootstrap: warning: whoever reaches {address} over the network can run the handler")).await;
    }
    if !watch.sees_all() {
        let most = watch::MOST;
        console
            .note(format!("bootstrap: warning: --watch looks at {most} files and folders, and here are more: name fewer of them"))
            .await;
    }

    let fleet = Arc::new(Fleet::new(&function, &console, options.environments, options.freeze));
    let events = Events::new(Arc::clone(&fleet), console.clone());
    let api = Arc::new(Api { function, fleet: Arc::clone(&fleet), events, room: Room::new(), console: console.clone(), address });
    let stop = tokio::select! {
        stop = stop => stop,
        never = server::serve(listener, Arc::clone(&api)) => match never {},
        never = follow(watch, &fleet, &console), if !options.watch.is_empty() => match never {},
    };
    let left = api.events.left();
    fleet.stop().await?;
    let last_words = async {
        if left > 0 {
            console.note(format!("bootstrap: {left} queued events were not run to their end")).await;
        }
        console.note(format!("bootstrap: stopped by {}", stop.name())).await;
        console.done().await;
    };
    // Where nobody reads, nothing is lost.
    let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    Ok(invoke::status_of(stop))
}

/// Has the environments replaced after each change.
async fn follow(mut watch: Watch, fleet: &Fleet, console: &Console) -> Infallible {
    loop {
        watch.changed().await;
        fleet.renew().await;
        console.note("bootstrap: what is watched has changed; the next event gets a fresh environment").await;
    }
}

/// How to call the function.
fn greeting(name: &str, address: SocketAddr) -> String {
    let mut here = address;
    if address.ip().is_unspecified() {
        here.set_ip(if address.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    format!(
        "bootstrap: the function `{name}` is at http://{here}; Ctrl-C ends it\n    \
         curl -d '{{}}' http://{here}/2015-03-31/functions/{name}/invocations\n    \
         aws lambda invoke --endpoint-url http://{here} --function-name {name} out.json"
    )
}
