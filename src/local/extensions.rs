//! Internal extensions: registrations without a process of their own, and whether each waits for an event.

use super::refusal::Refusal;

/// How many extensions one environment takes (`core/registrations.go` in AWS's emulator).
const MAX_EXTENSIONS: usize = 10;

/// The extensions of one environment.
#[derive(Clone, Debug, Default)]
pub struct Extensions(Vec<Extension>);

#[derive(Clone, Debug)]
struct Extension {
    name: String,
    id: String,
    /// Whether it has called `/extension/event/next`.
    waits: bool,
}

impl Extensions {
    /// Whether every extension waits for an event, which is when the init phase is over for them.
    pub fn all_wait(&self) -> bool {
        self.0.iter().all(|extension| extension.waits)
    }

    /// `POST /extension/register`, while registration is `open`. `id` becomes the extension's identifier.
    ///
    /// # Errors
    /// A refusal: no name, a name that is there, too many of them, or too late.
    pub fn register(&mut self, name: &str, id: String, open: bool) -> Result<(), Refusal> {
        let refuse = |error_type, message: String| Err(Refusal::Extension(error_type, message));
        if name.is_empty() {
            return refuse("Extension.InvalidExtensionName", "Empty extension name".to_owned());
        }
        if !open {
            return refuse("Extension.RegistrationClosed", "Extension registration closed already".to_owned());
        }
        if self.0.iter().any(|extension| extension.name == name) {
            return refuse("Extension.InvalidExtensionState", "Extension with this name already registered".to_owned());
        }
        if self.0.len() == MAX_EXTENSIONS {
            return refuse("Extension.TooManyExtensions", format!("Extension limit ({MAX_EXTENSIONS}) reached"));
        }
        self.0.push(Extension { name: name.to_owned(), id, waits: false });
        Ok(())
    }

    /// `GET /extension/event/next`: it waits, for as long as the environment `lives`.
    ///
    /// # Errors
    /// A refusal: no identifier, or one that was not given out.
    pub fn next(&mut self, id: Option<&str>, lives: bool) -> Result<(), Refusal> {
        let Some(id) = id else {
            return Err(Refusal::Extension(
                "Extension.MissingExtensionIdentifier",
                "Missing Lambda-Extension-Identifier header".to_owned(),
            ));
        };
        match self.0.iter_mut().find(|extension| extension.id == id) {
            Some(extension) if lives => {
                extension.waits = true;
                Ok(())
            }
            _ => Err(Refusal::Extension("Extension.UnknownExtensionIdentifier", format!("Unknown extension {id}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_have_names_and_no_name_twice_and_are_at_most_ten() {
        let mut extensions = Extensions::default();
        let mut register =
            |name: &str, open| extensions.register(name, format!("id-{name}"), open).map_err(|refusal| refusal.error_type());
        assert_eq!(register("", true), Err("Extension.InvalidExtensionName"));
        assert_eq!(register("0", false), Err("Extension.RegistrationClosed"));
        for n in 0..10 {
            assert_eq!(register(&n.to_string(), true), Ok(()));
        }
        assert_eq!(register("3", true), Err("Extension.InvalidExtensionState"));
        assert_eq!(register("10", true), Err("Extension.TooManyExtensions"));
    }

    #[test]
    fn an_extension_waits_once_it_has_called_with_its_identifier() {
        let mut extensions = Extensions::default();
        assert!(extensions.all_wait(), "there is none");
        extensions.register("a", "id-a".to_owned(), true).expect("registration is open");
        let mut next = |id, lives| extensions.next(id, lives).map_err(|refusal| refusal.error_type());
        assert_eq!(next(None, true), Err("Extension.MissingExtensionIdentifier"));
        assert_eq!(next(Some("id-b"), true), Err("Extension.UnknownExtensionIdentifier"));
        assert_eq!(next(Some("id-a"), false), Err("Extension.UnknownExtensionIdentifier"), "the environment has ended");
        assert!(!extensions.all_wait());
        extensions.next(Some("id-a"), true).expect("it is registered");
        assert!(extensions.all_wait());
    }
}
