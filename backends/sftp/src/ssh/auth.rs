//! Logs in: with a key of the agent, a key file, or a password, whatever the server takes first.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use ssh2::{KeyboardInteractivePrompt, Prompt, Session};
use wl_core::error::{Error, Fault, Result};

use super::config::Target;
use super::library;

/// Logs in. Whether an agent or a key file did it alone, without any secret of the manifest's.
pub fn log_in(session: &Session, target: &Target) -> Result<bool> {
    let mut tried = Tried::default();
    let methods = match session.auth_methods(&target.user) {
        Ok(methods) => methods.to_owned(),
        // Some servers let in who asks what they would want to see.
        Err(_) if session.authenticated() => return Ok(false),
        Err(error) => return Err(library::error(&error, &format!("{} does not let anybody in", target.shown()))),
    };
    let allowed = |method: &str| methods.split(',').any(|allowed| allowed == method);
    let mut bare = false;
    let outcome = (|| {
        if allowed("publickey") {
            with_agent(session, target, &mut tried)?;
            bare = session.authenticated();
            with_files(session, target, &mut tried)?;
            bare |= session.authenticated() && target.passphrase.is_none();
        }
        if let Some(password) = &target.password {
            if allowed("password") {
                tried.note("password", session.userauth_password(&target.user, password.expose_secret()))?;
            }
            if !session.authenticated() && allowed("keyboard-interactive") {
                let mut answers = Answers(password);
                let asked = session.userauth_keyboard_interactive(&target.user, &mut answers);
                tried.note("keyboard-interactive", asked)?;
            }
        }
        Ok(())
    })();
    match outcome {
        _ if session.authenticated() => Ok(bare),
        // A server that has seen enough hangs up.
        Err(error) if tried.0.is_empty() => {
            Err(library::error(&error, &format!("cannot log in to {}", target.shown())))
        }
        _ => Err(tried.refused(target, &methods)),
    }
}

/// What was tried in vain.
#[derive(Default)]
struct Tried(Vec<String>);

impl Tried {
    /// Notes what did not work. An error is the end of the connection.
    fn note(&mut self, what: impl Into<String>, outcome: Result<(), ssh2::Error>) -> Result<(), ssh2::Error> {
        let Err(error) = outcome else {
            return Ok(());
        };
        let what = what.into();
        self.0.push(if library::is_denial(&error) { what } else { format!("{what} ({})", error.message()) });
        if library::is_loss(&error) { Err(error) } else { Ok(()) }
    }

    fn refused(&self, target: &Target, methods: &str) -> Error {
        let tried = if self.0.is_empty() { "nothing: no key was found".to_owned() } else { self.0.join(", ") };
        let text = format!(
            "{} does not let {} in (it takes {methods}; tried {tried}): set ssh-identity to the file of a private key that \
             the server knows (and ssh-identity-passphrase if it is locked), add the key to an agent, or set password",
            target.shown(),
            target.user,
        );
        Error::new(Fault::Denied, text)
    }
}

fn with_agent(session: &Session, target: &Target, tried: &mut Tried) -> Result<(), ssh2::Error> {
    let Some(socket) = &target.agent else {
        return Ok(());
    };
    let mut agent = session.agent()?;
    // No agent, or one without keys, is no error: there are other ways.
    if agent.set_identity_path(socket).and_then(|()| agent.connect()).and_then(|()| agent.list_identities()).is_err() {
        return Ok(());
    }
    let wanted: Vec<_> = target.identities.iter().filter_map(|file| public_key(file)).collect();
    for key in agent.identities()? {
        if session.authenticated() || (target.identities_only && !wanted.iter().any(|blob| blob == key.blob())) {
            continue;
        }
        tried.note(format!("the agent's key {}", shown(key.comment())), agent.userauth(&target.user, &key))?;
    }
    Ok(())
}

fn with_files(session: &Session, target: &Target, tried: &mut Tried) -> Result<(), ssh2::Error> {
    let passphrase = target.passphrase.as_ref().map(ExposeSecret::expose_secret);
    for file in &target.identities {
        if session.authenticated() {
            return Ok(());
        }
        if let Err(error) = std::fs::File::open(file) {
            // The usual names need not be there; a name somebody chose must.
            if target.identities_only || error.kind() != std::io::ErrorKind::NotFound {
                tried.0.push(format!("{} ({error})", file.display()));
            }
            continue;
        }
        let outcome = session.userauth_pubkey_file(&target.user, None, file, passphrase);
        tried.note(format!("{}", file.display()), outcome)?;
    }
    Ok(())
}

/// The public half of a key file, from the file beside it.
fn public_key(file: &Path) -> Option<Vec<u8>> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".pub");
    let text = std::fs::read_to_string(PathBuf::from(beside)).ok()?;
    super::hostkey::decode_base64(text.split_whitespace().nth(1)?)
}

/// A comment is whatever somebody put there.
fn shown(comment: &str) -> String {
    comment.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Answers each question with the password.
struct Answers<'a>(&'a SecretString);

impl KeyboardInteractivePrompt for Answers<'_> {
    fn prompt(&mut self, _user: &str, _instructions: &str, prompts: &[Prompt<'_>]) -> Vec<String> {
        prompts.iter().map(|_| self.0.expose_secret().to_owned()).collect()
    }
}
