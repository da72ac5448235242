//! What `--help` says holds.

use clap::{Command, CommandFactory};

use super::Cli;

/// Every command that does something, by its whole name.
fn leaves(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
    let below: Vec<&Command> = command.get_subcommands().filter(|it| it.get_name() != "help").collect();
    if below.is_empty() || !command.is_subcommand_required_set() {
        found.push((name.to_owned(), command.clone()));
    }
    for one in below {
        leaves(one, &format!("{name} {}", one.get_name()), found);
    }
}

fn commands() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    leaves(&Cli::command(), "findings-router", &mut found);
    found
}

/// Command lines below `Example:` or `Examples:`; of a pipe, our end.
fn examples(help: &str) -> Vec<String> {
    let below = help.split_once("Example:").or_else(|| help.split_once("Examples:"));
    let lines =
        below.into_iter().flat_map(|(_, below)| below.lines().skip(1).take_while(|line| !line.trim().is_empty()));
    lines.filter_map(|line| Some(line[line.rfind("findings-router ")?..].to_owned())).collect()
}

/// As a shell does with blanks and single quotes, up to a redirection.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            letter => words.last_mut().expect("one").push(letter),
        }
    }
    let end = words.iter().position(|word| word == ">").unwrap_or(words.len());
    words.truncate(end);
    words
}

#[test]
fn every_command_has_an_example_of_itself_that_it_takes() {
    let commands = commands();
    assert!(commands.len() > 25, "{}", commands.len());
    for (name, mut command) in commands {
        let help = command.render_long_help().to_string();
        let examples = examples(&help);
        assert!(examples.iter().any(|line| line.starts_with(&name)), "{name} --help has no example of it:\n{help}");
        for line in examples {
            let parsed = Cli::command().try_get_matches_from(words(&line));
            assert!(parsed.is_ok(), "{name} --help: `{line}`: {}", parsed.expect_err("refused"));
        }
    }
}
