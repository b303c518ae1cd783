//! The commands: their reference is what `--help` prints, each has a manual page, and none is made up.

use std::{collections::BTreeMap, fmt::Write};

use super::{between, holds, pages, printed, read};

/// Options of every command: the reference says them once.
const GLOBAL: [&str; 4] = ["--config", "--log-level", "--log-format", "--help"];

/// Returns every command with its help text, by its words: `octroi`, `octroi session`, `octroi session revoke`.
fn commands() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut next = vec!["octroi".to_owned()];
    while let Some(command) = next.pop() {
        let args: Vec<&str> = command.split(' ').skip(1).chain(["--help"]).collect();
        let help = printed(&args);
        let listed = between(&help, "Commands:\n", "\n\n").next().unwrap_or_default();
        // A description that goes on in another line is indented further.
        let within = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let within: Vec<String> =
            within.map(|line| format!("{command} {}", line.split_whitespace().next().unwrap())).collect();
        next.extend(within.into_iter().rev());
        found.push((command, help));
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

/// Takes the options of every command out of a help text.
fn own_part(help: &str) -> String {
    let Some((before, options)) = help.split_once("\nOptions:\n") else { return help.trim_end().to_owned() };
    // An option begins at the second column or, without a short form, at the sixth.
    let mut entries: Vec<Vec<&str>> = Vec::new();
    for line in options.lines() {
        if line.trim_start().starts_with('-') && line.find('-').is_some_and(|at| at <= 6) {
            entries.push(vec![line]);
        } else if let Some(entry) = entries.last_mut() {
            entry.push(line);
        }
    }
    let is_own = |entry: &&Vec<&str>| !GLOBAL.iter().any(|option| entry[0].contains(option));
    let own: Vec<String> =
        entries.iter().filter(is_own).map(|entry| entry.join("\n").trim_end().to_owned()).collect();
    let before = before.trim_end();
    if own.is_empty() { before.to_owned() } else { format!("{before}\n\nOptions:\n{}", own.join("\n")) }
}

#[test]
fn the_commands_are_the_program_s_own() {
    let commands = commands();
    let mut text = String::new();
    for (command, help) in &commands[1..] {
        // A group says no more than its commands do.
        if !help.contains("\nCommands:\n") {
            writeln!(text, "### {command}\n\n```text\n{}\n```\n", own_part(help)).unwrap();
        }
    }

    holds("docs/reference/commands.md", "commands", &text);
}

#[test]
fn every_command_that_a_manual_page_names_has_a_page_of_its_own() {
    for (command, _) in commands() {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let page = printed(&[&["man"], &words[..]].concat());
        let name = command.replace(' ', "-");
        assert!(page.contains(&format!(".TH {name} 1")), "octroi man {words:?}:\n{page}");
        // `octroi\-session\-revoke(1)`: its words are those of a command.
        let cited =
            page.split("(1)").filter_map(|before| before.rsplit_once("octroi\\-").map(|(_, name)| name));
        for named in cited.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || "\\-".contains(c))) {
            let named = named.replace('\\', "");
            let words: Vec<&str> = named.split('-').collect();
            printed(&[&["man"], &words[..]].concat());
        }
    }
}

/// Every command that a page writes, in a line of a terminal or in the text, is one, with options that it has.
#[test]
fn every_command_that_is_written_of_exists() {
    let commands: BTreeMap<String, String> = commands().into_iter().collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in pages().into_iter().chain(["conf/octroi.yaml".into(), "deploy/debian/README.Debian".into()]) {
        let text = read(&page);
        // Lines of a terminal stand in blocks of code.
        let blocks = text.split("```").skip(1).step_by(2).filter(|block| block.starts_with("text\n"));
        let terminal = blocks.flat_map(str::lines).filter_map(|line| {
            ["$ ", "# ", ""]
                .iter()
                .find_map(|prompt| line.strip_prefix(prompt).filter(|line| line.starts_with("octroi ")))
        });
        let inline = text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("octroi "));
        for written in terminal.chain(inline) {
            seen += 1;
            if let Err(why) = is_command(written, &commands) {
                wrong.push(format!("{page}: `{written}`: {why}"));
            }
        }
    }

    assert!(seen > 100, "{seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_command(written: &str, commands: &BTreeMap<String, String>) -> Result<(), String> {
    // What stands behind a pipe, a comment or another command is not octroi's.
    let written = written.split(['|', ';', '#', '>', '<', '&', '(']).next().unwrap();
    let mut command = "octroi".to_owned();
    let mut rest = written.split_whitespace().skip(1).peekable();
    // Options before the command.
    while let Some(word) = rest.next_if(|word| word.starts_with('-')) {
        if ["--config", "-c", "--log-level", "--log-format"].contains(&word) {
            rest.next();
        }
    }
    let first = rest.peek().copied().unwrap_or_default();
    // Text and lines of output: `octroi 0.1.0 on edge-1: …`, `octroi serves`.
    if first.is_empty() || !first.starts_with(|c: char| c.is_ascii_lowercase()) || OUTPUT.contains(&first) {
        return Ok(());
    }
    while let Some(word) = rest.next_if(|word| commands.contains_key(&format!("{command} {word}"))) {
        command = format!("{command} {word}");
    }
    if command == "octroi" {
        return Err(format!("there is no command `{first}`"));
    }
    let help = &commands[&command];
    for word in rest.filter(|word| word.starts_with("--") && word.len() > 2) {
        let option = word.trim_matches(['[', ']', '`', ',', '.', ')']).split('=').next().unwrap();
        if !help.contains(option) {
            return Err(format!("`{command}` has no `{option}`"));
        }
    }
    Ok(())
}

/// What stands behind `octroi` in lines that it prints.
const OUTPUT: [&str; 2] = ["serves", "stopped"];
