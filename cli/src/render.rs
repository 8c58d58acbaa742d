//! The only place that prints: results on stdout, everything said meanwhile on stderr.

pub mod containers;
pub mod jobs;
pub mod progress;
pub mod reports;
mod secret;
pub mod words;

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::signals::interrupted;

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

/// What stands in a text for the beginning of a style, before its number, and for its end, before [`PLAIN`]. No name of a
/// file holds a NUL, so none can be taken for it.
const MARK: char = '\0';
/// Behind a [`MARK`]: no style from here on.
const PLAIN: char = '-';
/// The styles by their numbers.
const STYLES: [Style; 5] = [BAD, WARN, GOOD, DIM, BOLD];

/// A text in one of the styles above; what prints it leaves the style out where it is not wanted.
pub fn styled(style: Style, text: impl Display) -> String {
    match STYLES.iter().position(|known| *known == style) {
        Some(number) => format!("{MARK}{number}{text}{MARK}{PLAIN}"),
        None => text.to_string(),
    }
}

/// A name that others made, on one line and without anything that could steer a terminal.
pub fn name(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    text.chars().for_each(|c| push_harmless(&mut clean, c));
    clean
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
        if io::stdout().is_terminal() {
            // Without colours, too: this is none. What cannot be written now cannot be in a moment either.
            let _ = io::stdout().write_all(b"\x1b[H\x1b[2J");
        }
        self.out(&harmless(text))
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
    pub async fn confirm(&self, question: &str) -> bool {
        let _ = write!(anstream::stderr().lock(), "{question} [Y/n] ");
        let answered = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            let read = io::stdin().read_line(&mut answer);
            read.is_ok_and(|read| read > 0 && !answer.trim_start().starts_with(['n', 'N']))
        });
        tokio::select! {
            answer = answered => answer.unwrap_or(false),
            () = interrupted() => false,
        }
    }

    /// Asks for a secret, which is not shown while it is typed.
    pub async fn ask_secret(&self, what: &str) -> Outcome<String> {
        secret::ask(format!("{}: ", harmless(what)), what).await
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

/// The text with our own styles, and with everything escaped that could steer a terminal: names of files come from others.
fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut left = text.chars();
    while let Some(c) = left.next() {
        let style = if c == MARK { left.clone().next().and_then(sequence_of) } else { None };
        match style {
            Some(sequence) => {
                clean += &sequence;
                left.next();
            }
            None if matches!(c, '\n' | '\t') => clean.push(c),
            None => push_harmless(&mut clean, c),
        }
    }
    clean
}

/// What a terminal is told of what stands behind a [`MARK`].
fn sequence_of(mark: char) -> Option<String> {
    if mark == PLAIN {
        return Some(format!("{}", anstyle::Reset));
    }
    let number = usize::try_from(mark.to_digit(10)?).ok()?;
    STYLES.get(number).map(ToString::to_string)
}

fn push_harmless(clean: &mut String, c: char) {
    // Beside control characters those that turn the direction of what follows them.
    if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
        clean.extend(c.escape_default());
    } else {
        clean.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\rc\u{7}"), "a\\u{1b}[2Jb\\rc\\u{7}");
        assert_eq!(harmless("\u{1b}[31mred\u{9b}m\u{202e}"), "\\u{1b}[31mred\\u{9b}m\\u{202e}");
        assert_eq!(name("a\nb\tc"), "a\\nb\\tc");
    }

    #[test]
    fn our_own_styles_are_drawn() {
        let ours = harmless(&(styled(BAD, "error:") + " é\n\tx"));
        assert_eq!(ours, format!("{BAD}error:{BAD:#} é\n\tx"));
        assert_eq!(harmless("\09\0"), "\\u{0}9\\u{0}");
    }
}
