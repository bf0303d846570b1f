//! What shells need to complete flags and their values, made from the table that the help is made
//! from.
//!
//! A script names every flag when it is written and never runs the connector again: pressing a key
//! must not depend on what is installed where. So it is written anew after an upgrade.

use std::fmt::Write as _;

use super::flags::{self, PAGES};
use super::layers::FILE_SETTING;
use super::load::Table;
use super::{Form, Setting};

/// A shell that completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The shells by the word that asks for each.
pub(super) const SHELLS: [(&str, Shell); 3] =
    [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

/// The words of [`SHELLS`].
pub(super) const SHELL_WORDS: [&str; 3] = [SHELLS[0].0, SHELLS[1].0, SHELLS[2].0];

/// One flag, as completion sees it.
struct Flag {
    /// Every name it answers to, with dashes, which are easier typed than underscores.
    names: Vec<String>,
    about: String,
    value: Value,
}

/// What follows a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Nothing.
    None,
    /// `true` or `false`, and only behind `=`.
    Truth,
    /// One of these.
    Words(&'static [&'static str]),
    /// The path of a file.
    File,
    /// What nobody can guess.
    Text,
}

const TRUTH: &str = "true false";

const ENDLESS: &str = "a string takes everything";

/// The script that completes the connector's flags in this shell.
pub(super) fn script(table: &Table, shell: Shell) -> String {
    let program = table.program();
    let flags = flags(table);
    match shell {
        Shell::Bash => bash(&program, &flags),
        Shell::Zsh => zsh(&program, &flags),
        Shell::Fish => fish(&program, &flags),
    }
}

fn flags(table: &Table) -> Vec<Flag> {
    let pages = PAGES.iter().map(|&(name, _, about)| (name, about, Value::None));
    let (name, about) = flags::COMPLETIONS;
    let shells = (name, about, Value::Words(&SHELL_WORDS));
    let pages = pages.chain([shells]).map(|(name, about, value)| Flag {
        names: vec![name.to_owned()],
        about: beginning(about),
        value,
    });
    let settings = table.rows.iter().map(|setting| Flag {
        names: names(setting),
        about: beginning(setting.help),
        value: value(setting),
    });
    pages.chain(settings).collect()
}

fn names(setting: &Setting) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for form in flags::forms(setting) {
        let name = form.replace('_', "-");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn value(setting: &Setting) -> Value {
    match setting.form {
        Form::Flag => Value::Truth,
        Form::Choice(words) => Value::Words(words),
        Form::SecretFile => Value::File,
        _ if setting.name == FILE_SETTING => Value::File,
        _ => Value::Text,
    }
}

/// The first sentence, without what marks code.
fn beginning(help: &str) -> String {
    let sentence = help.split_once(". ").map_or(help, |(first, _)| first);
    sentence.trim_end_matches('.').replace('`', "")
}

/// Bash splits a word at `=`, so that flag, `=` and value are three.
fn bash(program: &str, flags: &[Flag]) -> String {
    let function = format!("_{}", program.replace('-', "_"));
    let mut values = String::new();
    for flag in flags {
        let names = flag.names.join(" | ");
        let action = match flag.value {
            Value::None => continue,
            Value::Truth => format!("[[ -z $joined ]] || offer='{TRUTH}'"),
            Value::Words(words) => format!("offer='{}'", words.join(" ")),
            Value::File => "compopt -o filenames; files=-f".to_owned(),
            Value::Text => "files=-".to_owned(),
        };
        writeln!(values, "      {names}) {action} ;;").expect(ENDLESS);
    }
    let names: Vec<&str> = flags.iter().flat_map(|flag| &flag.names).map(String::as_str).collect();
    let names = names.join(" ");
    format!(
        "# Completes {program} in Bash. Written by: {program} -completions bash
{function}() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD - 1]}} joined='' offer='' files='' dashes=--
  local IFS=$' \\n'
  if [[ $word == = ]]; then
    word='' joined=yes
  elif [[ $flag == = ]]; then
    flag=${{COMP_WORDS[COMP_CWORD - 2]}} joined=yes
  fi
  if [[ $flag == -* ]]; then
    flag=${{flag#-}}
    flag=${{flag#-}}
    case ${{flag//_/-}} in
{values}    esac
  fi
  if [[ $files == -f ]]; then
    IFS=$'\\n'
    COMPREPLY=($(compgen -f -- \"$word\"))
  elif [[ $files == - ]]; then
    COMPREPLY=()
  elif [[ -n $offer ]]; then
    COMPREPLY=($(compgen -W \"$offer\" -- \"$word\"))
  else
    [[ $word != -[!-]* ]] || dashes=-
    word=${{word#-}}
    word=${{word#-}}
    COMPREPLY=($(compgen -P \"$dashes\" -W '{names}' -- \"${{word//_/-}}\"))
  fi
}}
complete -F {function} {program}
"
    )
}

fn zsh(program: &str, flags: &[Flag]) -> String {
    let mut specs = String::new();
    for Flag { names, about, value } in flags {
        let about = about.replace('\\', "\\\\").replace(']', "\\]").replace('\'', "'\\''");
        let (equals, value) = match value {
            Value::None => ("", String::new()),
            Value::Truth => ("=-", format!("::value:({TRUTH})")),
            Value::Words(words) => ("=", format!(":value:({})", words.join(" "))),
            Value::File => ("=", ":file:_files".to_owned()),
            Value::Text => ("=", ":value: ".to_owned()),
        };
        for name in names {
            writeln!(specs, "    {{-,--}}'{name}{equals}[{about}]{value}' \\").expect(ENDLESS);
        }
    }
    let specs = specs.trim_end_matches(" \\\n");
    format!(
        "#compdef {program}
# Completes {program} in Zsh. Written by: {program} -completions zsh
_{program}() {{
  _arguments \\
{specs}
}}
if [[ $funcstack[1] == _{program} ]]; then
  _{program} \"$@\"
else
  compdef _{program} {program}
fi
"
    )
}

fn fish(program: &str, flags: &[Flag]) -> String {
    let mut text = format!(
        "# Completes {program} in fish. Written by: {program} -completions fish\ncomplete -c {program} -f\n"
    );
    for Flag { names, about, value } in flags {
        let about = about.replace('\\', "\\\\").replace('\'', "\\'");
        let value = match value {
            Value::None | Value::Truth => String::new(),
            Value::Words(words) => format!(" -x -a '{}'", words.join(" ")),
            Value::File => " -r -F".to_owned(),
            Value::Text => " -x".to_owned(),
        };
        for name in names {
            writeln!(text, "complete -c {program} -o {name} -l {name}{value} -d '{about}'")
                .expect(ENDLESS);
        }
    }
    text
}
