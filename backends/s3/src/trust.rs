//! Whose certificates are trusted.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use wl_core::error::{Error, Fault, Result};

use crate::config::Config;

/// Names a file of certificates in PEM that are trusted instead of the system's, as the AWS CLI has it.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// A client that trusts the system's authorities, or those of `AWS_CA_BUNDLE` instead, and the storage's own one besides.
pub(crate) fn http_client(config: &Config) -> Result<SharedHttpClient> {
    let bundle = std::env::var_os(CA_BUNDLE).filter(|file| !file.is_empty());
    let mut trusted = TrustStore::empty().with_native_roots(bundle.is_none());
    let bundle = bundle.as_deref().map(|file| (CA_BUNDLE, Path::new(file)));
    let own = config.ca_certificate.as_deref().map(|file| ("`ca-certificate`", Path::new(file)));
    for (key, file) in bundle.into_iter().chain(own) {
        trusted.add_pem_certificate(certificates(key, file)?);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context =
        context.map_err(|error| Error::new(Fault::Broken, format!("no encryption can be set up: {error}")))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}

/// The certificates in a file. The SDK panics over what it cannot read: that is found out here.
fn certificates(key: &str, file: &Path) -> Result<Vec<u8>> {
    let wrong =
        |why: &dyn Display| Error::new(Fault::Malformed, format!("{key} names {}, {why}: correct it", file.display()));
    let unusable = |error: &dyn Display| wrong(&format!("which cannot be used ({error}); it must be in PEM form"));
    let pem = fs::read(file).map_err(|error| wrong(&format!("which cannot be read ({error})")))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        store.add(certificate).map_err(|error| unusable(&error))?;
    }
    if store.is_empty() {
        return Err(wrong(&"which holds no certificate in PEM form"));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ours.pem");
        let error = certificates("`ca-certificate`", &file).unwrap_err();
        assert!(error.fault == Fault::Malformed && error.message.contains("cannot be read"), "{error}");
        for (text, says) in [
            ("", "holds no certificate"),
            ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "cannot be used"),
            ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", "cannot be used"),
            ("-----BEGIN CERTIFICATE-----\nMAA=\n", "cannot be used"),
        ] {
            fs::write(&file, text).unwrap();
            let error = certificates("`ca-certificate`", &file).unwrap_err();
            assert!(error.message.contains(says) && error.message.contains("ours.pem"), "{text:?}: {error}");
        }
    }
}
