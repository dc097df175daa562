//! What callers write for a function, and hosts: by the patterns that AWS documents for them.

use bootstrap::local::guard;
use bootstrap::local::serve::name::{self, Named};

use crate::text::pattern;

/// What stands before a name.
const PREFIX: &str = r"^(arn:aws[a-zA-Z0-9_-]*:lambda:[a-zA-Z0-9_-]+:[0-9]{12}:function:|[0-9]{12}:function:|function:)";

/// A name, with or without a qualifier.
const NAME: &str = r"^(?P<name>[a-zA-Z0-9_-]{1,64})(:(?P<qualifier>\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9_-]{1,128}))?$";

/// Finds the function `orders` under each name there is.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let name = pattern!(PREFIX).find(text).map_or(text, |prefix| &text[prefix.end()..]);
    let found = pattern!(NAME).captures(name);
    let expected = found.map_or(Named::Nothing, |found| match &found["name"] {
        "orders" | "function" => Named::This(found.name("qualifier").map(|qualifier| qualifier.as_str().to_owned())),
        other => Named::Another(other.to_owned()),
    });
    assert_eq!(name::find(text, "orders"), expected, "{text:?}");
    let _ = name::find(text, "function");
    assert_eq!(name::is_name(text), pattern!(r"^[a-zA-Z0-9_-]{1,64}$").is_match(text));
    assert!(text.contains(guard::host_of(text)));
}
