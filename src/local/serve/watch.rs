//! Files and folders that are watched: whether they are what they were.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, Metadata};
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often they are looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// How many files are looked at in all. More are too many to be looked at so often.
pub const MOST: usize = 20_000;

/// What the files are now, as one number, and whether that is all of them. None where one of the paths is not there, as happens
/// while it is made anew.
///
/// Two states of them that differ have different numbers, as far as names, sizes, times and inodes tell.
fn fingerprint(paths: &[PathBuf]) -> Option<(u64, bool)> {
    let mut hasher = DefaultHasher::new();
    let mut waiting = paths.to_vec();
    for path in paths {
        fs::metadata(path).ok()?;
    }
    let mut seen = 0;
    while seen < MOST
        && let Some(path) = waiting.pop()
    {
        seen += 1;
        // A path that is given may be a link; those in a folder are looked at as they are, so that no circle is walked.
        let is_given = paths.contains(&path);
        let metadata = if is_given { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let Ok(metadata) = metadata else { continue };
        add(&mut hasher, &path, &metadata);
        if metadata.is_dir() {
            let mut entries: Vec<PathBuf> = fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            entries.sort_unstable();
            waiting.extend(entries);
        }
    }
    Some((hasher.finish(), waiting.is_empty()))
}

fn add(hasher: &mut DefaultHasher, path: &Path, metadata: &Metadata) {
    (path, metadata.len(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino(), metadata.mode()).hash(hasher);
}

/// Watched paths, and what they were.
#[derive(Debug)]
pub struct Watch {
    paths: Vec<PathBuf>,
    known: Option<(u64, bool)>,
}

impl Watch {
    /// Watches these from now on.
    ///
    /// # Errors
    /// The first of them that is not there.
    pub fn new(paths: Vec<PathBuf>) -> Result<Self, PathBuf> {
        if let Some(path) = paths.iter().find(|path| !path.exists()) {
            return Err(path.clone());
        }
        let known = fingerprint(&paths);
        Ok(Watch { paths, known })
    }

    /// Whether all of them are looked at, which are at most [`MOST`].
    pub fn sees_all(&self) -> bool {
        self.known.is_none_or(|(_, all)| all)
    }

    /// Waits until they have changed, and have stopped changing.
    pub async fn changed(&mut self) {
        let mut before = self.known;
        loop {
            sleep(INTERVAL).await;
            let paths = self.paths.clone();
            // A folder may be on a slow disk.
            let Ok(now) = spawn_blocking(move || fingerprint(&paths)).await else { continue };
            if now.is_some() && now == before && now != self.known {
                self.known = now;
                return;
            }
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_change_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let watched = [path("folder")];
        assert_eq!(fingerprint(&watched), None);
        fs::create_dir_all(path("folder/inner")).expect("a folder");
        let mut seen = vec![fingerprint(&watched)];
        let mut differs = |what: &str| {
            let now = fingerprint(&watched);
            assert_eq!(now, fingerprint(&watched), "{what}");
            assert!(now.is_some() && !seen.contains(&now), "{what}");
            seen.push(now);
        };
        fs::write(path("folder/inner/file"), "1").expect("a file");
        differs("a new file");
        fs::write(path("folder/inner/file"), "12").expect("a file");
        differs("another size");
        fs::write(path("folder/new"), "34").expect("a file");
        fs::rename(path("folder/new"), path("folder/inner/file")).expect("a file");
        differs("another file of that name");
        std::os::unix::fs::symlink(path("folder"), path("folder/circle")).expect("a link");
        differs("a link");
        fs::remove_file(path("folder/inner/file")).expect("a file");
        differs("one file less");
    }
}
