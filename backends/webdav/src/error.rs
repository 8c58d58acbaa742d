//! What a server's answers and the network's failures mean to a caller, and how they are said to a user.

use reqwest::{Response, StatusCode};
use wl_core::backend::Obstacle;
use wl_core::error::{Error, Fault};
use wl_core::report::ProblemKind;

/// What a caller does about a status.
pub fn fault(status: StatusCode) -> Fault {
    match status.as_u16() {
        404 | 410 => Fault::Missing,
        405 | 409 | 412 => Fault::Refused,
        401 | 402 | 403 | 407 | 451 => Fault::Denied,
        423 | 425 | 429 | 503 => Fault::Busy,
        // 200 is a page where WebDAV was expected: whoever stands between may be gone soon.
        200 | 408 | 502 | 504 | 511 => Fault::Offline,
        507 | 509 => Fault::Full,
        400 | 414 | 300..=399 => Fault::Malformed,
        413 | 415 | 501 | 505 => Fault::Unsupported,
        _ => Fault::Broken,
    }
}

/// What happened, and what a user can do about it.
pub fn words(status: StatusCode) -> String {
    let fixed = match status.as_u16() {
        404 | 410 => "there is nothing under this path",
        412 => "it changed meanwhile",
        405 | 409 => "the server refuses it: something else is in the way, or the directory it belongs in is not there",
        401 => "the server does not accept the login: check `credentials`, or the token",
        402 => "the server asks for a payment first",
        403 | 451 => "the server forbids it: ask who runs it for the right to read and write there",
        407 => "a proxy on the way asks for a login: give it in https_proxy",
        423 => "it is locked by another program: it is tried again",
        425 | 429 | 503 => "the server asks for patience: it is tried again",
        408 | 502 | 504 => "the server behind this address does not answer: it is tried again",
        511 => "the network asks for a login first (a captive portal): log in to it with a browser",
        507 | 509 => "no space left on the storage, or its quota is used up: make room",
        400 => "the server does not understand the request: it may not take such a name",
        414 => "the name is too long for this server",
        300..=399 => {
            "the server redirects to another place: put the address it names into the manifest's url, unless the network \
             asks for a login first (a captive portal)"
        }
        413 => "the file is too big for this server: raise its limit on uploads",
        415 | 501 | 505 => "the server cannot do this",
        200 => {
            "a page was answered where WebDAV was expected: is this the URL of a WebDAV server, or does the network ask \
             for a login first (a captive portal)?"
        }
        _ => return format!("the server failed with {status}: its own log says why"),
    };
    format!("{fixed} ({})", status.as_u16())
}

/// The error of an answer.
pub fn of_status(status: StatusCode) -> Error {
    Error::new(fault(status), words(status))
}

/// The error of an answer that was not the expected one, with where it redirects to.
pub fn of_answer(response: &Response) -> Error {
    let mut error = of_status(response.status());
    if response.status().is_redirection()
        && let Some(to) = response.headers().get(reqwest::header::LOCATION).and_then(|to| to.to_str().ok())
    {
        // What follows a question mark may hold somebody's session.
        let to: String = to.split('?').next().unwrap_or_default().chars().take(200).collect();
        error.message = format!("{} -> {to}", error.message);
    }
    error
}

/// What rustls says of an answer that is none of TLS.
const NO_TLS: &str = "InvalidContentType";

/// The error of a request that got no answer, or only a part of one.
pub fn of_network(error: &reqwest::Error) -> Error {
    let mut said = String::new();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = source {
        // The innermost ones say it best; the outer ones only where they happened.
        said = inner.to_string();
        source = inner.source();
    }
    let what = if error.is_timeout() {
        "the server does not answer in time"
    } else if error.is_builder() {
        return Error::new(Fault::Malformed, format!("the request cannot be made: {said}"));
    } else if error.is_connect() {
        "the server cannot be reached"
    } else {
        "the connection to the server broke"
    };
    let hint = if said.contains(NO_TLS) {
        ": what answers there does not speak https: does the url mean http://, or another port?"
    } else if said.contains("CertificateRequired") {
        ": the server asks for a certificate of yours: name it as `client-certificate`"
    } else if said.contains("certificate") || said.contains("UnknownIssuer") {
        ": name the certificate of who signed it as `ca-certificate`, if you trust it"
    } else {
        ""
    };
    let said = if said.is_empty() { said } else { format!(" ({said})") };
    Error::new(Fault::Offline, format!("{what}{said}{hint}"))
}

/// The server did not answer for so long.
pub fn timed_out() -> Error {
    Error::new(Fault::Offline, "the server does not answer in time")
}

/// Why a part of a listing, or one path, could not be looked at.
pub fn obstacle(error: &Error) -> Obstacle {
    let kind = match error.fault {
        Fault::Busy => ProblemKind::Busy,
        Fault::Offline => ProblemKind::Offline,
        _ => ProblemKind::Unreadable,
    };
    Obstacle { kind, message: error.message.clone() }
}

/// Why a file cannot be synced that is shown with nothing that tells one version from the next.
pub fn no_version() -> Obstacle {
    let message = "the server names neither an entity tag nor a date for it, so that its versions cannot be told apart";
    Obstacle { kind: ProblemKind::Failed, message: message.to_owned() }
}

/// Whether everything that follows would fail as well.
pub fn ends_it_all(error: &Error) -> bool {
    matches!(error.fault, Fault::Offline | Fault::Busy | Fault::Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_says_what_to_do_next() {
        for (status, expected, part) in [
            (200, Fault::Offline, "captive portal"),
            (301, Fault::Malformed, "manifest"),
            (400, Fault::Malformed, "name"),
            (401, Fault::Denied, "credentials"),
            (403, Fault::Denied, "forbids"),
            (404, Fault::Missing, "nothing"),
            (405, Fault::Refused, "in the way"),
            (409, Fault::Refused, "in the way"),
            (412, Fault::Refused, "changed"),
            (413, Fault::Unsupported, "too big"),
            (423, Fault::Busy, "locked"),
            (429, Fault::Busy, "patience"),
            (500, Fault::Broken, "log"),
            (502, Fault::Offline, "tried again"),
            (503, Fault::Busy, "patience"),
            (507, Fault::Full, "make room"),
            (511, Fault::Offline, "browser"),
        ] {
            let error = of_status(StatusCode::from_u16(status).unwrap());
            assert_eq!(error.fault, expected, "{status}");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_https_is_said_so() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            for mut stream in server.incoming().flatten() {
                // What it is asked it does not understand.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        let error = of_network(&reqwest::get(format!("https://{address}/")).await.unwrap_err());
        assert!(error.fault == Fault::Offline && error.message.contains("does not speak https"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_offline() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = reqwest::get(format!("http://{free}/")).await.unwrap_err();
        let error = of_network(&error);
        assert!(error.fault == Fault::Offline && error.message.contains("cannot be reached"), "{error}");
    }
}
