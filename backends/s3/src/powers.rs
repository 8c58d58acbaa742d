//! What a server was seen to honour. `probe.rs` finds it out; what is written, copied and deleted goes by it.

/// How an `If-Match` must be spelled for a server to honour it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// It is ignored, or refuses what is current.
    Ignored,
    /// `If-Match: "etag"`, as the standard has it.
    Quoted,
    /// `If-Match: etag`: Ceph 16 refuses a quoted one always.
    Bare,
}

impl Matching {
    /// The header's value for an ETag without its quotes; none where the server ignores it.
    pub fn header(self, etag: &str) -> Option<String> {
        match self {
            Self::Ignored => None,
            Self::Quoted => Some(format!("\"{etag}\"")),
            Self::Bare => Some(etag.to_owned()),
        }
    }
}

/// What one kind of request honours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// `If-None-Match: *`.
    pub absent: bool,
    /// `If-Match`.
    pub matching: Matching,
}

impl Conditions {
    /// Nothing is honoured: whoever writes looks before and after.
    pub const NONE: Self = Self { absent: false, matching: Matching::Ignored };
}

/// What a server was seen to honour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Powers {
    /// PutObject.
    pub put: Conditions,
    /// CompleteMultipartUpload.
    pub complete: Conditions,
    /// CopyObject, of its destination.
    pub copy: Conditions,
    /// DeleteObject (`absent` is never asked for).
    pub delete: Matching,
    /// Whether several writers raced for one key and only one won, every time: creating, replacing.
    pub raced: bool,
    /// Whether a wrong `x-amz-checksum-sha256` is refused, and a right one kept and told back.
    pub checksum: bool,
    /// Whether CopyObject works at all.
    pub server_copy: bool,
    /// Whether a copy keeps the checksum.
    pub copy_keeps_checksum: bool,
    /// Whether UploadPartCopy works.
    pub part_copy: bool,
}
