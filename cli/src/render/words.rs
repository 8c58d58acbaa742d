//! Figures, times and tables, for people.

use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use wl_core::entry::Hash;
use wl_core::report::StorageView;

use super::name;

/// Appends a formatted text to a `String`, which does not fail.
macro_rules! add {
    ($text:ident, $($format:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($text, $($format)*);
    }};
}
pub(crate) use add;

/// `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// `1.5 MiB/s`.
pub fn rate(bytes_per_s: u64) -> String {
    format!("{}/s", size(bytes_per_s))
}

/// `1 file`, `2 files`.
pub fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// A moment, to the second, in UTC.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `850 ms`, `3.2 s`, `2 min 5 s`, `3 h 20 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The first digits of a hash, or a dash.
pub fn short_hash(hash: Option<&Hash>) -> String {
    hash.map_or_else(|| "-".to_owned(), |hash| hash.to_string()[..12].to_owned())
}

/// The first characters of a backend-id: what `--keep` and `--source-storage` accept.
pub fn short_id(backend_id: &str) -> &str {
    backend_id.get(..8).unwrap_or(backend_id)
}

/// What people call a storage that is known by its backend-id.
pub fn storage(storages: &[StorageView], backend_id: &str) -> String {
    storages
        .iter()
        .find(|view| view.backend_id == backend_id)
        .map_or_else(|| backend_id.to_owned(), |view| format!("{} ({})", view.location, short_id(backend_id)))
}

/// Columns under their heads, without lines.
pub fn table<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    for row in rows {
        table.add_row(row.map(|cell| name(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        add!(text, "{}\n", line.trim_end());
    }
    text
}

/// Every line moved in.
pub fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |text, line| text + "  " + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(0, "conflict"), "0 conflicts");
        let texts = [35, 3_210, 125_000, 12_000_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(texts, ["35 ms", "3.2 s", "2 min 5 s", "3 h 20 min"]);
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let text = table(["NAME", "STORAGES"], [["photos".into(), "2".into()], ["a".into(), "10".into()]]);
        assert_eq!(text, "NAME    STORAGES\nphotos  2\na       10\n");
    }
}
