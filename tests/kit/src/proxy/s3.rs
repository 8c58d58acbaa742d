//! What a request means to an S3 server.

use super::http::Request;

/// The operation that a request asks for: the name that S3's API has for it, of those that a backend uses, else the method.
/// Buckets are taken to be in the path.
pub fn operation(request: &Request) -> &str {
    let asks = |name: &str| request.query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let in_bucket = request.path.trim_matches('/').contains('/');
    match request.method.as_str() {
        "GET" if asks("uploads") => "ListMultipartUploads",
        "GET" if asks("uploadId") => "ListParts",
        "GET" if asks("tagging") => "GetObjectTagging",
        "PUT" if asks("tagging") => "PutObjectTagging",
        "GET" if !in_bucket => "ListObjectsV2",
        "GET" => "GetObject",
        "HEAD" if in_bucket => "HeadObject",
        "HEAD" => "HeadBucket",
        "PUT" if asks("uploadId") && request.header("x-amz-copy-source").is_some() => "UploadPartCopy",
        "PUT" if asks("uploadId") => "UploadPart",
        "PUT" if request.header("x-amz-copy-source").is_some() => "CopyObject",
        "PUT" if in_bucket => "PutObject",
        "POST" if asks("uploads") => "CreateMultipartUpload",
        "POST" if asks("uploadId") => "CompleteMultipartUpload",
        "POST" if asks("delete") => "DeleteObjects",
        "DELETE" if asks("uploadId") => "AbortMultipartUpload",
        "DELETE" if in_bucket => "DeleteObject",
        method => method,
    }
}
