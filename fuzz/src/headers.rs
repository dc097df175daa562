//! The headers of an answer to `/next`, and the X-Ray header among them. The input is one header a line, then an empty line.

use bootstrap::runtime::invocation::Invocation;
use bootstrap::trace;

use crate::text::{head_and_body, pattern};

/// Reads the headers, and holds each member against the rule of section 7.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert_eq!(trace::traceparent(&text), traceparent(&text));

    let input = [data, b"\n\n"].concat();
    let (head, _) = head_and_body(&input);
    let header = |name: &str| head.iter().find(|(found, _)| found == &format!("lambda-runtime-{name}")).map(|(_, value)| *value);
    let outcome = Invocation::from_headers(|name| header(name.strip_prefix("lambda-runtime-").expect("it is one of Lambda's")));

    let form = pattern!(r"^[A-Za-z0-9._-]{1,128}$");
    let id = header("aws-request-id").and_then(|value| std::str::from_utf8(value).ok());
    let id = id.filter(|id| form.is_match(id) && !id.ends_with('\n') && *id != "." && *id != "..");
    let Ok((invocation, warnings)) = outcome else {
        let why = outcome.expect_err("it failed");
        assert!(id.is_none() && !why.contains('\n'), "{why}");
        return;
    };
    assert_eq!(Some(invocation.request_id.as_str()), id);

    let mut malformed = 0;
    for (name, found) in [
        ("invocation-id", &invocation.invocation_id),
        ("invoked-function-arn", &invocation.function_arn),
        ("trace-id", &invocation.trace_id),
        ("aws-tenant-id", &invocation.tenant_id),
        ("client-context", &invocation.client_context),
        ("cognito-identity", &invocation.identity),
    ] {
        let value = header(name).filter(|value| !value.is_empty());
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        assert_eq!(found.as_deref(), text, "{name}");
        malformed += usize::from(value.is_some() && text.is_none());
    }
    let deadline = header("deadline-ms").filter(|value| !value.is_empty());
    let digits = deadline.and_then(|value| std::str::from_utf8(value).ok()).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    assert_eq!(invocation.deadline_ms, digits.and_then(|digits| digits.parse().ok()));
    malformed += usize::from(deadline.is_some() && invocation.deadline_ms.is_none());
    assert_eq!(warnings.len(), malformed, "{warnings:?}");
    assert!(invocation.event.is_empty());
}

/// The W3C form of an X-Ray header, by a pattern for each part.
#[must_use]
pub fn traceparent(header: &str) -> Option<String> {
    let part = |key: &str| {
        let parts = header.split(';').filter_map(|part| part.split_once('='));
        parts.map(|(found, value)| (found.trim(), value.trim())).find(|(found, _)| *found == key).map(|(_, value)| value)
    };
    let root = pattern!(r"^1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})$").captures(part("Root")?)?;
    let parent = part("Parent").filter(|id| pattern!(r"^[0-9a-fA-F]{16}$").is_match(id))?;
    let id = format!("{}{}", &root[1], &root[2]);
    if id == "0".repeat(32) || parent == "0".repeat(16) {
        return None;
    }
    let flags = if part("Sampled") == Some("1") { "01" } else { "00" };
    Some(format!("00-{id}-{parent}-{flags}").to_ascii_lowercase())
}
