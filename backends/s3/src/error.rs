//! What the SDK's errors mean to a caller.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId as _;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use wl_core::error::{Error, Fault};

use crate::archive;
use crate::config::Config;

/// What of an error counts.
#[derive(Debug, Default, Clone, Copy)]
struct Said<'a> {
    status: u16,
    code: &'a str,
    message: &'a str,
    /// The region that the server says the bucket is in.
    region: Option<&'a str>,
}

/// What an answer or the lack of one means, in words.
pub(crate) fn error<E>(config: &Config, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Some(raw) = error.raw_response() else { return no_answer(config, error) };
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let said = Said {
        status: raw.status().as_u16(),
        code: code(error),
        message,
        region: raw.headers().get("x-amz-bucket-region"),
    };
    if raw.status().is_success() && is_page(raw.body().bytes().unwrap_or_default()) {
        let text = format!(
            "{} answered a page where S3 was expected: is this the address of an S3 server, or does the network ask for a \
             login first (a captive portal)?",
            server(config)
        );
        return Error::new(Fault::Offline, text);
    }
    if raw.status().is_success() {
        let text = format!("{} answered what no S3 server answers ({})", server(config), chain(error));
        return Error::new(Fault::Broken, text);
    }
    let (fault, text) = meaning(config, said);
    if let Some(id) = error.as_service_error().and_then(|service| service.meta().request_id()) {
        tracing::debug!(request = id, status = said.status, code = said.code, "S3 refused a request");
    }
    Error::new(fault, text)
}

/// A change was answered as done, in an answer that does not name the version it made, and that version is not there.
pub(crate) fn unnamed(config: &Config) -> Error {
    let text = format!(
        "{} answered that a change is done, and does not show it: it is tried again; does the network ask for a login \
         first (a captive portal)?",
        server(config)
    );
    Error::new(Fault::Offline, text)
}

/// Whether an answer is for people.
fn is_page(body: &[u8]) -> bool {
    let begin = String::from_utf8_lossy(&body[..body.len().min(512)]).to_ascii_lowercase();
    begin.contains("<html") || begin.contains("<!doctype html")
}

/// The code that the server gave: `NoSuchKey` and the like. Empty where it gave none, as in answers to HEAD.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default()
}

/// The status of the answer; 0 where there was none.
pub(crate) fn status<E>(error: &SdkError<E, HttpResponse>) -> u16 {
    error.raw_response().map_or(0, |raw| raw.status().as_u16())
}

/// Codes and statuses: Amazon S3 API reference, Error responses; and what other servers send for the same.
fn meaning(config: &Config, said: Said<'_>) -> (Fault, String) {
    let Said { status, code, region, .. } = said;
    let (bucket, server) = (&config.bucket, server(config));
    let detail = detail(said);
    match code {
        "NoSuchBucket" => {
            let text = format!("there is no bucket {bucket} on {server}: make it first, or correct `s3-url`");
            (Fault::Missing, text)
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            let text = "the credentials have expired: renew them (`aws sso login`, or new keys), then it goes on";
            (Fault::Denied, text.to_owned())
        }
        "InvalidAccessKeyId" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            (Fault::Denied, format!("{server} does not know the access key: correct `credentials` or the AWS profile"))
        }
        "InvalidToken" => (Fault::Denied, format!("{server} refuses the session token: correct or renew it")),
        "SignatureDoesNotMatch" => {
            let text =
                format!("{server} refuses the signature: the secret key is wrong, correct `credentials`{detail}");
            (Fault::Denied, text)
        }
        "RequestTimeTooSkewed" | "RequestExpired" => {
            let text = format!("this machine's clock and that of {server} differ too much: set this one (with NTP)");
            (Fault::Denied, text)
        }
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "IllegalLocationConstraintException"
        | "InvalidRegionName" => (Fault::Denied, elsewhere(config, region, &detail)),
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "ServiceUnavailable"
        | "BandwidthLimitExceeded"
        | "TooManyRequestsException"
        | "OperationAborted" => (Fault::Busy, format!("{server} asks for patience{detail}")),
        "RequestTimeout" => (Fault::Offline, format!("{server} waited too long for the request{detail}")),
        "ConditionalRequestConflict" => (Fault::Refused, "it changed meanwhile".to_owned()),
        "BadDigest" | "XAmzContentChecksumMismatch" | "InvalidDigest" | "XAmzContentSHA256Mismatch" => {
            (Fault::Refused, format!("{server} received other bytes than were meant{detail}"))
        }
        "KeyTooLongError"
        | "InvalidURI"
        | "XMinioInvalidObjectName"
        | "XMinioInvalidResourceName"
        | "InvalidObjectName"
        | "ErrInvalidObjectName" => (Fault::Malformed, format!("{server} cannot hold this name{detail}")),
        "InvalidBucketName" => (Fault::Malformed, format!("{bucket} is no name of a bucket: correct `s3-url`")),
        "EntityTooLarge" => (Fault::Malformed, format!("it is too large for {server}{detail}")),
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "InsufficientCapacity" => {
            (Fault::Full, format!("{server} has no room{detail}"))
        }
        archive::CODE => {
            let error = archive::archived();
            (error.fault, error.message)
        }
        _ => of_status(config, status, region, &detail),
    }
}

/// What a status alone says: answers to HEAD have no body.
fn of_status(config: &Config, status: u16, region: Option<&str>, detail: &str) -> (Fault, String) {
    let (bucket, server) = (&config.bucket, server(config));
    match status {
        301 | 307 => (Fault::Denied, elsewhere(config, region, detail)),
        404 => (Fault::Missing, "there is nothing under this path".to_owned()),
        304 | 409 | 412 => (Fault::Refused, "it changed meanwhile".to_owned()),
        401 | 403 => {
            let text = format!(
                "{server} denies access to the bucket {bucket}: the credentials need s3:ListBucket, s3:GetObject, \
                 s3:PutObject and s3:DeleteObject on it{detail}"
            );
            (Fault::Denied, text)
        }
        400 if region.is_some_and(|there| config.region.as_deref().is_some_and(|said| said != there)) => {
            (Fault::Denied, elsewhere(config, region, detail))
        }
        408 | 502 | 504 => (Fault::Offline, format!("{server} cannot serve the request now{detail}")),
        // What servers say while they start or stop, or when something behind them does.
        500 | 520..=524 => (Fault::Offline, format!("{server} answered {status}{detail}: it is tried again")),
        429 | 503 => (Fault::Busy, format!("{server} asks for patience{detail}")),
        405 | 501 => (Fault::Unsupported, format!("{server} cannot do this{detail}")),
        414 => (Fault::Malformed, format!("{server} cannot hold a name this long{detail}")),
        507 => (Fault::Full, format!("{server} has no room{detail}")),
        _ => (Fault::Broken, format!("{server} answered {status}{detail}")),
    }
}

fn elsewhere(config: &Config, region: Option<&str>, detail: &str) -> String {
    match region {
        Some(region) => format!("the bucket {} is in the region {region}: set `region: {region}`", config.bucket),
        None => format!("the bucket {} is in another region: set `region` to it{detail}", config.bucket),
    }
}

/// The server's own words. They name no secret: S3 puts what was signed into elements of their own.
fn detail(said: Said<'_>) -> String {
    const LONGEST: usize = 200;
    let message: String = said.message.chars().take(LONGEST).collect();
    match (said.code, message.as_str()) {
        ("", "") => String::new(),
        (code, "") => format!(" ({code})"),
        (code, message) => format!(" ({code}: {})", message.trim_end_matches('.')),
    }
}

/// What rustls says of an answer that is none of TLS.
const NO_TLS: &str = "InvalidContentType";

fn no_answer<E: std::error::Error + 'static>(config: &Config, error: &SdkError<E, HttpResponse>) -> Error {
    let server = server(config);
    if let Some(credentials) = find::<CredentialsError>(error) {
        return without_credentials(credentials);
    }
    let told = chain(error);
    if ["certificate", "UnknownIssuer", "invalid peer"].iter().any(|word| told.contains(word)) {
        return Error::new(Fault::Denied, untrusted(server, &told));
    }
    match error {
        SdkError::ConstructionFailure(_) => Error::new(Fault::Malformed, format!("the request cannot be made: {told}")),
        SdkError::TimeoutError(_) => Error::new(Fault::Offline, format!("{server} did not answer in time")),
        _ if told.contains(NO_TLS) => {
            let text = "cannot be reached: what answers there does not speak https: does `endpoint-url` mean http://, or \
                        another port?";
            Error::new(Fault::Offline, format!("{server} {text}"))
        }
        _ => Error::new(Fault::Offline, format!("{server} cannot be reached: {told}")),
    }
}

/// Why a server's certificate is refused, and what helps: the words are those of rustls.
fn untrusted(server: &str, told: &str) -> String {
    let help = if told.contains("UnknownIssuer") {
        "name the certificate of who signed it as `ca-certificate`, if you trust it"
    } else if told.contains("CaUsedAsEndEntity") {
        "it is an authority's own, which no server may use; make another one with `basicConstraints=CA:FALSE`, or have the \
         authority sign one for the server"
    } else {
        "it must be valid today, and for the host that `endpoint-url` names"
    };
    format!("the certificate of {server} is not trusted: {help} ({told})")
}

fn without_credentials(error: &CredentialsError) -> Error {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Error::new(
            Fault::Denied,
            "there are no AWS credentials, neither a profile nor any in the environment of the sync daemon, which is that of \
             the command that started it: `wl daemon stop` and run this again where they are set, or name them in the \
             storage's `credentials`, such as `secret-key: {env: NAME}`",
        ),
        CredentialsError::ProviderTimedOut(_) => {
            Error::new(Fault::Offline, "the provider of the AWS credentials did not answer in time")
        }
        other => {
            let text = format!(
                "the AWS credentials cannot be had: {}: log in again (`aws sso login`), or correct the profile or the role \
                 that they come from",
                chain(other)
            );
            Error::new(Fault::Denied, text)
        }
    }
}

fn server(config: &Config) -> &str {
    config.endpoint.as_deref().unwrap_or("AWS")
}

fn find<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// What an error says, and what caused it, without what is said twice.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in std::iter::successors(Some(error), |error| error.source()) {
        let text = error.to_string();
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keys;

    fn config() -> Config {
        Config {
            bucket: "b".to_owned(),
            keys: Keys::new("").unwrap(),
            endpoint: None,
            region: Some("eu-west-1".to_owned()),
            ca_certificate: None,
            credentials: None,
            read_only: false,
            queue: None,
        }
    }

    #[test]
    fn a_page_for_people_is_no_answer_of_a_server() {
        assert!(is_page(b"<!DOCTYPE HTML>\n<title>Log in</title>") && is_page(b"\n<HTML lang=en><body>"));
        assert!(!is_page(b"<?xml version=\"1.0\"?><ListBucketResult>") && !is_page(b""));
    }

    #[test]
    fn a_certificate_that_is_not_trusted_says_what_helps() {
        for (told, helps) in [
            ("invalid peer certificate: UnknownIssuer", "as `ca-certificate`"),
            ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "basicConstraints=CA:FALSE"),
            ("invalid peer certificate: certificate expired", "valid today"),
        ] {
            let text = untrusted("https://h", told);
            assert!(text.contains(helps) && text.contains(told), "{text}");
        }
    }

    #[test]
    fn every_answer_says_what_to_do_next() {
        for (status, code, fault, says) in [
            (404, "NoSuchBucket", Fault::Missing, "make it first"),
            (404, "NoSuchKey", Fault::Missing, "nothing under this path"),
            (404, "", Fault::Missing, "nothing under this path"),
            (412, "PreconditionFailed", Fault::Refused, "changed meanwhile"),
            (409, "ConditionalRequestConflict", Fault::Refused, "changed meanwhile"),
            (400, "ExpiredToken", Fault::Denied, "have expired: renew"),
            (403, "InvalidAccessKeyId", Fault::Denied, "correct `credentials`"),
            (403, "SignatureDoesNotMatch", Fault::Denied, "secret key is wrong"),
            (403, "RequestTimeTooSkewed", Fault::Denied, "clock"),
            (403, "AccessDenied", Fault::Denied, "need s3:ListBucket"),
            (403, "", Fault::Denied, "need s3:ListBucket"),
            (301, "PermanentRedirect", Fault::Denied, "set `region: eu-north-1`"),
            (400, "AuthorizationHeaderMalformed", Fault::Denied, "set `region: eu-north-1`"),
            (400, "", Fault::Denied, "set `region: eu-north-1`"),
            (503, "SlowDown", Fault::Busy, "patience"),
            (503, "", Fault::Busy, "patience"),
            (429, "", Fault::Busy, "patience"),
            (400, "RequestTimeout", Fault::Offline, "too long"),
            (504, "", Fault::Offline, "now"),
            (500, "InternalError", Fault::Offline, "answered 500"),
            (507, "", Fault::Full, "no room"),
            (501, "NotImplemented", Fault::Unsupported, "cannot do this"),
            (400, "KeyTooLongError", Fault::Malformed, "cannot hold this name"),
            (400, "BadDigest", Fault::Refused, "other bytes"),
            (403, "InvalidObjectState", Fault::Denied, "restore it"),
            (418, "", Fault::Broken, "answered 418"),
        ] {
            let said = Said { status, code, message: "So it is.", region: Some("eu-north-1") };
            let (got, text) = meaning(&config(), said);
            assert!(got == fault && text.contains(says), "{status} {code}: {got:?} {text}");
        }
    }
}
