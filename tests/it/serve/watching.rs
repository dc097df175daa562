//! `--watch`: a changed file gives the next event a fresh environment.

use super::served::{listen, serve};
use crate::it::support::{Call, hello};

/// A handler that answers each event with the word, in a process that stays. It may wait for a file before it answers.
fn handler(word: &str) -> String {
    format!(
        "#!/bin/sh\nwhile read -r message; do\n    id=${{message#*\\\"id\\\":\\\"}}\n    id=${{id%%\\\"*}}\n    \
         case $message in *WAIT*) touch \"$TEST_DIR/begun\"; while ! [ -e \"$TEST_DIR/go\" ]; do sleep 0.01; done ;; esac\n    \
         echo \"{{\\\"id\\\":\\\"$id\\\",\\\"response\\\":\\\"{word}\\\"}}\"\ndone\n"
    )
}

const CHANGED: &str = "bootstrap: what is watched has changed; the next event gets a fresh environment\n";

#[test]
fn a_changed_handler_answers_the_next_event() {
    let local = serve(["--watch", "handler.sh"]).file("handler.sh", 0o755, handler("old"));
    let served = listen(local.handler("./handler.sh"));
    served.invoke("1").is(200, "\"old\"");
    // As an editor does it: a new file takes the old one's name.
    let dir = served.running.dir.path();
    std::fs::write(dir.join("new"), handler("new")).unwrap();
    std::fs::set_permissions(dir.join("new"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(dir.join("new"), dir.join("handler.sh")).unwrap();
    served.wait_stderr(CHANGED);
    served.invoke("1").is(200, "\"new\"");
    served.end();
}

#[test]
fn an_event_on_its_way_ends_with_what_it_began_with() {
    let local = serve(["--watch", "folder"]).file("handler.sh", 0o755, handler("$(cat folder/word 2>/dev/null || echo none)"));
    std::fs::create_dir(local.path("folder")).unwrap();
    let served = listen(local.handler("./handler.sh"));
    let mut waits = served.begin(&Call::invoke("function", "\"WAIT\""));
    served.running.wait_file("begun");
    std::fs::write(served.running.dir.path().join("folder/word"), "some").unwrap();
    served.wait_stderr(CHANGED);
    served.running.touch("go");
    waits.reply().is(200, "\"some\"");
    served.invoke("1").is(200, "\"some\"");
    let ended = served.end();
    assert_eq!(ended.stderr.matches("Init Duration").count(), 2, "{}", ended.story());
}

#[test]
fn what_is_not_there_can_not_be_watched() {
    let ended = serve(["--watch", "nowhere"]).handler(hello()).run();
    ended.code(2).says("bootstrap: --watch nowhere: there is no such file or folder\n");
}

#[test]
fn of_more_files_than_are_looked_at_there_is_a_warning() {
    for (files, warned) in [(1, false), (20_000, true)] {
        let local = serve(["--watch", "folder"]).handler(hello());
        std::fs::create_dir(local.path("folder")).unwrap();
        for file in 0..files {
            std::fs::write(local.path(&format!("folder/{file}")), "").unwrap();
        }
        let ended = listen(local).end();
        let warning = "bootstrap: warning: --watch looks at 20000 files and folders, and here are more: name fewer of them\n";
        assert_eq!(ended.stderr.contains(warning), warned, "{}", ended.story());
    }
}
