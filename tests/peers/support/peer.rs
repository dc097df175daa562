//! Whoever takes events and gives answers.

use std::net::SocketAddr;

use super::run::Run;
use crate::it_support::{patience, show};

/// What a caller gets.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The answer's text, for a failure.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.status, show(&self.body))
    }

    /// This response, byte for byte.
    #[track_caller]
    pub(crate) fn is(&self, response: impl AsRef<[u8]>) {
        let right = self.status == 200 && self.body == response.as_ref();
        assert!(right, "the answer is\n{}\nand not\n{}", self.text(), show(response.as_ref()));
    }
}

/// A local Lambda with bootstrap and one handler in it.
pub(crate) trait Peer {
    fn run(&mut self) -> &mut Run;

    /// Where events are sent.
    fn url(&self) -> String;

    /// With which status an error of the function is answered.
    fn error_status(&self) -> u16;

    /// Sends an event and waits for the answer.
    #[track_caller]
    fn invoke(&mut self, event: &[u8]) -> Answer {
        post(&self.url(), event)
    }

    /// An event whose answer is an error of this type; gives the error document.
    #[track_caller]
    fn fails(&mut self, event: &[u8], error_type: &str) -> serde_json::Value {
        let answer = self.invoke(event);
        let document: serde_json::Value =
            serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("no error document: {e}: {}", answer.text()));
        let right = document["errorType"] == error_type && answer.status == self.error_status();
        assert!(right, "not the error {error_type}: {}", answer.text());
        document
    }
}

/// Where a local Lambda takes the events of a function.
pub(super) fn invocations(address: SocketAddr, function: &str) -> String {
    format!("http://{address}/2015-03-31/functions/{function}/invocations")
}

#[track_caller]
fn post(url: &str, event: &[u8]) -> Answer {
    let answer = async {
        // Six megabytes through jq on a busy machine take their time.
        let client = reqwest::Client::builder().no_proxy().timeout(4 * patience()).build()?;
        let answer = client.post(url).header("Content-Type", "application/json").body(event.to_vec()).send().await?;
        Ok::<_, reqwest::Error>(Answer { status: answer.status().as_u16(), body: answer.bytes().await?.to_vec() })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(answer) {
        Ok(answer) => answer,
        Err(e) => panic!("POST {url}: {e:?}"),
    }
}
