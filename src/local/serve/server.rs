//! The HTTP server around the [Invoke API](super::api): connections, as many as are good for everybody.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::api::Api;
use super::patience::Patient;

/// The longest request line and headers, in bytes.
const MAX_HEAD: usize = 1024 * 1024;

/// How many connections are served at a time. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;

/// How long a request's head may take to come, from the connection's start or the answer before. Idle connections end so.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// How long a client may take nothing of the answer that it is sent. What the kernel holds for it, some megabytes, counts as taken.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// Serves for as long as this is polled. All connections end with it.
pub async fn serve(listener: TcpListener, api: Arc<Api>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, client)) => {
                    connections.spawn(connection(stream, client, Arc::clone(&api)));
                }
                // Out of descriptors, for one: the connection stays in the kernel's queue.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, api: Arc<Api>) {
    // Only delays small answers; where the option can't be set they come late.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(api.answer(request, client).await) }
    });
    // An error here is the client's: it went away or did not speak HTTP.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream, READ_PATIENCE)), service)
        .await;
}
