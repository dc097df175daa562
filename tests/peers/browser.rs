//! Headless Chromium opens the function URL, as the reader of the page does.

use std::path::Path;

use serde_json::json;

use super::support::{Browser, Served};
use crate::it_support::fixture;

#[test]
fn chromium_shows_the_page_of_the_streaming_example() {
    let served = Served::of(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python-stream/page.py"), "function");
    let browser = Browser::start();
    browser.open(&format!("{}/?n=12,91,1000003", served.endpoint()));
    let shown = "[document.readyState, document.title, ...[...document.querySelectorAll('h1, td')].map(e => e.innerText)]";
    let page = json!(["complete", "Factors", "Factors", "12", "2 × 2 × 3", "91", "7 × 13", "1000003", "1000003"]);
    browser.wait(shown, &page);
    drop(browser);
    served.end();
}

#[test]
fn chromium_shows_the_beginning_of_a_page_whose_end_is_not_yet_made() {
    let served = Served::of(fixture("handlers/holds_the_page_back.py"), "function");
    let browser = Browser::start();
    browser.open(&format!("{}/?n=12,91", served.endpoint()));
    let cells = "[document.readyState, ...[...document.querySelectorAll('td')].map(e => e.innerText)]";
    browser.wait(cells, &json!(["loading", "12", "2 × 2 × 3"]));
    served.touch("released");
    browser.wait(cells, &json!(["complete", "12", "2 × 2 × 3", "91", "7 × 13"]));
    drop(browser);
    served.end();
}
