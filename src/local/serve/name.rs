//! What a caller may write for a function: its name, its ARN or a part of that, with or without a qualifier.

/// Lambda's longest name.
const MAX_NAME: usize = 64;

/// The name in the path that AWS's emulator has for its one function, whatever that is called.
const EMULATORS: &str = "function";

/// What Lambda says of other words (`NamespacedFunctionName` of its service model).
pub const CONSTRAINT: &str = "regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?\
     ([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_\\.]+)\
     (:(\\$LATEST(\\.PUBLISHED)?|[a-zA-Z0-9-_]+))?";

/// Whether a function may be called so.
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && is_word(text)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn is_qualifier(text: &str) -> bool {
    text.len() <= 128 && (is_word(text) || ["$LATEST", "$LATEST.PUBLISHED"].contains(&text))
}

/// How a caller's words relate to a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// They name it, and this qualifier, if any.
    This(Option<String>),
    /// They name another function.
    Another(String),
    /// They name no function at all.
    Nothing,
}

/// Whether these words name the function called `own`.
///
/// An ARN may be of any region and account, since a client may have one of the function in Lambda. There is one version of
/// it here, which each qualifier stands for.
pub fn find(text: &str, own: &str) -> Named {
    let parts: Vec<&str> = text.split(':').collect();
    let (name, qualifier) = match parts[..] {
        ["arn", partition, "lambda", region, account, "function", name, ..]
            if parts.len() <= 8 && partition.starts_with("aws") && is_word(partition) && is_word(region) && is_account(account) =>
        {
            (name, parts.get(7))
        }
        [account, "function", name, ..] if parts.len() <= 4 && is_account(account) => (name, parts.get(3)),
        // What stands before the last name may be a part of an ARN, or this may be a name and its qualifier.
        ["function", name] if name == own || own != EMULATORS => (name, None),
        ["function", name, _] => (name, parts.get(2)),
        [name] | [name, _] => (name, parts.get(1)),
        _ => return Named::Nothing,
    };
    if !is_name(name) || qualifier.is_some_and(|qualifier| !is_qualifier(qualifier)) {
        return Named::Nothing;
    }
    if name == own || name == EMULATORS {
        return Named::This(qualifier.map(|&qualifier| qualifier.to_owned()));
    }
    Named::Another(name.to_owned())
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this(qualifier: &str) -> Named {
        Named::This(Some(qualifier.to_owned()))
    }

    #[test]
    fn names_and_arns_and_their_parts_name_the_function() {
        for prefix in [
            "",
            "function:",
            "123456789012:function:",
            "arn:aws:lambda:eu-west-1:999999999999:function:",
            "arn:aws-cn:lambda:cn-north-1:123456789012:function:",
        ] {
            assert_eq!(find(&format!("{prefix}orders"), "orders"), Named::This(None), "{prefix}");
            assert_eq!(find(&format!("{prefix}orders:live"), "orders"), this("live"), "{prefix}");
            assert_eq!(find(&format!("{prefix}orders:$LATEST"), "orders"), this("$LATEST"), "{prefix}");
            let published = "$LATEST.PUBLISHED";
            assert_eq!(find(&format!("{prefix}orders:{published}"), "orders"), this(published), "{prefix}");
            assert_eq!(find(&format!("{prefix}prices"), "orders"), Named::Another("prices".to_owned()), "{prefix}");
        }
    }

    #[test]
    fn the_emulators_name_is_every_functions() {
        assert_eq!(find("function", "orders"), Named::This(None));
        assert_eq!(find("function:live", "function"), this("live"));
        assert_eq!(find("function:function", "function"), Named::This(None));
    }

    #[test]
    fn other_words_name_nothing() {
        let long = "x".repeat(65);
        for text in [
            "",
            ":",
            "a b",
            "orders:",
            "orders:a b",
            "orders:1:2",
            "a/b",
            "arn:aws:lambda:eu-west-1:123:function:orders",
            "arn:aws:s3:eu-west-1:123456789012:function:orders",
            "arn:aws:lambda:eu-west-1:123456789012:layer:orders",
            "arn:aws:lambda:eu-west-1:123456789012:function:orders:1:2",
            "é",
            &long,
        ] {
            assert_eq!(find(text, "orders"), Named::Nothing, "{text}");
        }
    }
}
