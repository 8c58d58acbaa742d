//! The only place that prints: results on stdout, everything said meanwhile on stderr.

pub mod containers;
pub mod jobs;
pub mod progress;
pub mod reports;
pub mod words;

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// What is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What needs a look.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What stands back.
pub const DIM: Style = Style::new().dimmed();
/// What stands out.
pub const BOLD: Style = Style::new().bold();

/// A text in a style; what prints it leaves the style out where it is not wanted.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Where a command prints to.
///
/// A reader that goes away is no failure of the command: what it would have read is dropped.
#[derive(Debug, Default)]
pub struct Screen {
    json: bool,
    closed: AtomicBool,
}

impl Screen {
    /// Prints texts, or with `json` one document.
    pub fn new(json: bool) -> Self {
        Self { json, closed: AtomicBool::new(false) }
    }

    /// Whether results are one JSON document.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nobody reads stdout any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether somebody can be asked.
    pub fn can_ask(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Prints a command's result: as JSON, or as the text that `text` makes of it.
    pub fn show<T: Serialize>(&self, result: &T, text: impl FnOnce(&T) -> String) -> Outcome<()> {
        if self.json {
            let document = serde_json::to_string_pretty(result)
                .map_err(|error| Failure::new(format!("the result cannot be written as JSON: {error}")))?;
            self.out(&document)
        } else {
            let text = text(result);
            if text.is_empty() { Ok(()) } else { self.out(&harmless(text.trim_end_matches('\n'))) }
        }
    }

    /// Tells a step of a story: on stdout, or beside the JSON document on stderr.
    pub fn tell(&self, line: impl Display) -> Outcome<()> {
        if self.json {
            self.say(line);
            return Ok(());
        }
        self.out(&harmless(&line.to_string()))
    }

    /// Prints a text in place of what the terminal shows.
    pub fn redraw(&self, text: &str) -> Outcome<()> {
        let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        self.out(&format!("{clear}{}", harmless(text)))
    }

    /// Says something while the command goes on.
    #[expect(clippy::unused_self, reason = "only who was given a screen prints")]
    pub fn say(&self, message: impl Display) {
        // Nobody listening is no failure.
        let _ = writeln!(anstream::stderr().lock(), "{}", harmless(&message.to_string()));
    }

    /// Warns of something that hinders nothing.
    pub fn warn(&self, message: impl Display) {
        self.say(format!("{} {message}", styled(WARN, "warning:")));
    }

    /// Says why the command ends.
    pub fn fail(&self, failure: &Failure) {
        self.say(format!("{} {failure}", styled(BAD, "error:")));
    }

    /// Asks a question that is answered with yes or no; yes unless the answer begins with n.
    #[expect(clippy::unused_self, reason = "only who was given a screen prints")]
    pub fn confirm(&self, question: &str) -> bool {
        let _ = write!(anstream::stderr().lock(), "{question} [Y/n] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).is_ok_and(|read| read > 0 && !answer.trim_start().starts_with(['n', 'N']))
    }

    /// Asks for a secret, which is not shown while it is typed.
    #[expect(clippy::unused_self, reason = "only who was given a screen prints")]
    pub fn ask_secret(&self, what: &str) -> Outcome<String> {
        rpassword::prompt_password(format!("{}: ", harmless(what)))
            .map_err(|error| Failure::new(format!("the {what} cannot be read from the terminal: {error}")))
    }

    fn out(&self, text: &str) -> Outcome<()> {
        let mut stdout = anstream::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(Failure::new(format!("stdout cannot be written to: {error}"))),
        }
    }
}

/// The text with everything escaped that could drive a terminal but for our own styles: names of files come from others.
fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let is_style = c == '\u{1b}' && begins_style(&text[at + 1..]);
        if !c.is_control() || matches!(c, '\n' | '\t') || is_style {
            clean.push(c);
        } else {
            clean.extend(c.escape_default());
        }
    }
    clean
}

/// Whether this is the rest of a sequence that only sets colours and weight.
fn begins_style(rest: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit() || c == ';';
    rest.strip_prefix('[').is_some_and(|rest| rest.trim_start_matches(digits).starts_with('m'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\rc\u{7}"), "a\\u{1b}[2Jb\\rc\\u{7}");
        let ours = styled(BAD, "error:") + " é\n\tx";
        assert_eq!(harmless(&ours), ours);
    }
}
