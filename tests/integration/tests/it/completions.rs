//! Completions, asked of the shells themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration::{Launch, unique};

/// What is completed: what is typed, what is offered for it, and what is not.
const TYPED: [(&str, &[&str], &str); 4] = [
    ("kafka-connector --unmat", &["--unmatched"], "--topics"),
    ("kafka-connector --unmatched ", &["hold", "drop", "dead-letter"], "--topics"),
    ("kafka-connector -admin-port 0 -ordering k", &["key"], "partition"),
    ("kafka-connector -completions f", &["fish"], "bash"),
];

/// A file with the script for this shell, as a user writes it.
async fn script(shell: &str) -> PathBuf {
    let launch = Launch::new("kafka").unset("admin_port").argument("-completions").argument(shell);
    let ended = launch.run().await;
    assert_eq!((ended.code, ended.stderr()), (Some(0), String::new()));
    let file = std::env::temp_dir().join(unique(shell));
    fs::write(&file, ended.stdout()).expect("a file can be written");
    file
}

/// What the shell offers, run with `program`, which finds the script as `$1` and the line as `$2`.
fn offered(shell: &[&str], program: &str, script: &Path, line: &str) -> String {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", program, shell[0]]).arg(script).arg(line);
    let answer = command.output().unwrap_or_else(|error| {
        panic!("{0} can be run ({error}); it is installed by: apt-get install {0}", shell[0])
    });
    let complaint = String::from_utf8_lossy(&answer.stderr);
    assert!(complaint.trim().is_empty(), "{}: {complaint}", shell[0]);
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

async fn completes(shell: &[&str], program: &str) {
    let script = script(shell[0]).await;
    for (line, wanted, unwanted) in TYPED {
        let offer = offered(shell, program, &script, line);
        for word in wanted {
            assert!(offer.contains(word), "{}: {line}: {offer}", shell[0]);
        }
        assert!(!offer.contains(unwanted), "{}: {line}: {offer}", shell[0]);
    }
    fs::remove_file(script).expect("the file is ours");
}

/// Asked as readline asks: by words, of which the last one is completed.
#[tokio::test]
async fn bash_completes() {
    let program = r#"
        source "$1"
        IFS=' ' read -ra COMP_WORDS <<<"$2"
        [[ $2 != *' ' ]] || COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        compopt() { :; }
        function=$(complete -p kafka-connector | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    completes(&["bash"], program).await;
}

/// Asked by pressing the key, in a terminal of its own.
#[tokio::test]
async fn zsh_completes() {
    let program = r#"
        zmodload zsh/zpty
        zpty shell "PS1='' TERM=dumb zsh -f -i"
        zpty -w shell "autoload -U compinit; compinit -u -D; source $1; setopt no_beep; PS1='ask''me> '"
        zpty -r shell seen '*askme> *'
        zpty -w -n shell "$2"$'\t\t'
        zpty -w -n shell $'\x15'"echo o""ver"$'\n'
        zpty -r shell seen '*over*over*'
        print -r -- $seen
    "#;
    completes(&["zsh", "-f"], program).await;
}

#[tokio::test]
async fn fish_completes() {
    // Without what it says of each.
    let program = r"source $argv[2]; complete -C $argv[3] | string replace -r '\t.*' ''";
    completes(&["fish", "--no-config"], program).await;
}
