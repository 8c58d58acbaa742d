//! Credentials from where the manifest names none: a container's, an instance's, those of single sign-on; and the server's
//! own, its certificate. Each test is a process of its own, since the environment is where the SDK begins to look.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use wl_core::backend::Backend as _;
use wl_core::manifest::Storage;
use wl_test_kit::proxy::{Action, Answer, Http, Request};
use wl_test_kit::servers::{S3, moto, seaweed};

/// Tells the process that is to open a storage which one.
const PARAMS: &str = "WL_TEST_OPENS";
const SESSION: &str = "company";

/// Opens the storage that its parent names, if it has one that does. What came of it is what it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opens_what_it_is_told() {
    let Ok(params) = std::env::var(PARAMS) else { return };
    let storage = Storage::from_params(serde_json::from_str(&params).unwrap()).unwrap();
    match wl_backend_s3::S3::new(&storage).unwrap().root().await {
        Ok(_) => println!("it is open"),
        Err(error) => println!("{:?}: {error}", error.fault),
    }
}

/// What comes of opening a bucket with nothing but that environment to go by.
fn opened(house: &Http, bucket: &str, home: &Path, env: &[(&str, String)]) -> String {
    opened_as(&params(&format!("http://{}", house.address()), bucket), home, env)
}

fn params(endpoint: &str, bucket: &str) -> Value {
    json!({
        "type": "s3", "backend-id": "test", "s3-url": format!("s3://{bucket}"), "region": S3::REGION,
        "endpoint-url": endpoint,
    })
}

/// What comes of opening what that describes.
fn opened_as(params: &Value, home: &Path, env: &[(&str, String)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "opens_what_it_is_told", "--nocapture"]).env_clear().env("HOME", home);
    child.env(PARAMS, params.to_string()).envs(env.iter().map(|(key, text)| (*key, text)));
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn answer(status: u16, body: &impl ToString) -> Action {
    Action::Answer(Answer { status, headers: Vec::new(), body: body.to_string() })
}

/// What a container's agent and an instance hand out.
fn handed_out(key: &str, secret: &str, lasts: SignedDuration) -> Value {
    json!({
        "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key, "SecretAccessKey": secret, "Token": "session",
        "Expiration": in_seconds(Timestamp::now() + lasts),
    })
}

/// What the portal of single sign-on hands out.
fn of_role(key: &str, secret: &str) -> Value {
    let ends = (Timestamp::now() + SignedDuration::from_hours(1)).as_millisecond();
    json!({ "roleCredentials": { "accessKeyId": key, "secretAccessKey": secret, "expiration": ends } })
}

fn in_seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Whether a request to the bucket is signed with that key.
fn is_signed_by(request: &Request, key: &str) -> bool {
    request.header("authorization").is_some_and(|text| text.contains(&format!("Credential={key}/")))
}

/// A server whose front also is the endpoint that hands out credentials.
fn house(server: &S3, path: &'static str, body: Action) -> Http {
    Http::with(server.address(), move |request| if request.path == path { body.clone() } else { Action::Pass })
}

#[test]
fn none_anywhere_and_whose_environment_was_looked_at() {
    let home = tempfile::tempdir().unwrap();
    let env = [("AWS_EC2_METADATA_DISABLED", "true".to_owned())];
    let said = opened_as(&params("http://127.0.0.1:9", "bucket"), home.path(), &env);
    assert!(said.contains("the environment of the sync daemon") && said.contains("`wl daemon stop`"), "{said}");
}

#[test]
fn a_containers() {
    let server = moto::start();
    let (bucket, home) = (server.fresh_bucket(), tempfile::tempdir().unwrap());
    let open = |house: &Http| {
        let uri = format!("http://{}/container", house.address());
        opened(house, &bucket, home.path(), &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)])
    };
    let handing = house(&server, "/container", answer(200, &handed_out("ASIACONTAINER", "secret", HOUR)));
    assert!(open(&handing).contains("it is open"));
    let asked = handing.requests();
    let to_bucket: Vec<_> = asked.iter().filter(|request| request.path.contains(&bucket)).collect();
    assert!(!to_bucket.is_empty() && to_bucket.iter().all(|request| is_signed_by(request, "ASIACONTAINER")));
    assert!(to_bucket.iter().all(|request| request.header("x-amz-security-token") == Some("session")));

    let refusing =
        house(&server, "/container", answer(403, &json!({ "code": "Forbidden", "message": "no such task" })));
    let said = open(&refusing);
    assert!(said.contains("Denied") && said.contains("403") && said.contains("the role that they come from"), "{said}");
}

#[test]
fn an_instances() {
    let server = moto::start();
    let (bucket, home) = (server.fresh_bucket(), tempfile::tempdir().unwrap());
    let handing = Http::with(server.address(), |request| match request.path.as_str() {
        "/latest/api/token" => Action::Answer(Answer {
            status: 200,
            headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned())],
            body: "token".to_owned(),
        }),
        "/latest/meta-data/iam/security-credentials/" => answer(200, &"role"),
        "/latest/meta-data/iam/security-credentials/role" => answer(200, &handed_out("ASIAINSTANCE", "secret", HOUR)),
        path if path.starts_with("/latest/") => answer(404, &""),
        _ => Action::Pass,
    });
    let at = |house: &Http| [("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", house.address()))];
    let said = opened(&handing, &bucket, home.path(), &at(&handing));
    assert!(said.contains("it is open"), "{said}");
    let asked = handing.requests();
    let to_bucket = asked.iter().filter(|request| request.path.contains(&bucket));
    assert!(to_bucket.clone().count() > 0 && to_bucket.clone().all(|request| is_signed_by(request, "ASIAINSTANCE")));

    // An instance without a role.
    let without = Http::with(server.address(), |request| match request.path.as_str() {
        "/latest/api/token" => Action::Answer(Answer {
            status: 200,
            headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned())],
            body: "token".to_owned(),
        }),
        path if path.starts_with("/latest/") => answer(404, &""),
        _ => Action::Pass,
    });
    let said = opened(&without, &bucket, home.path(), &at(&without));
    assert!(said.contains("Denied") && said.contains("name them in the storage's `credentials`"), "{said}");
}

/// What `aws sso login` leaves in a home directory: a profile, and a token that ends then.
fn logged_in(home: &Path, until: Timestamp) {
    let cache = home.join(".aws/sso/cache");
    fs::create_dir_all(&cache).unwrap();
    let profile = format!(
        "[default]\nsso_session = {SESSION}\nsso_account_id = 123456789012\nsso_role_name = Reader\n\
         [sso-session {SESSION}]\nsso_region = us-east-1\nsso_start_url = https://company.example/start\n"
    );
    fs::write(home.join(".aws/config"), profile).unwrap();
    let token = json!({
        "startUrl": "https://company.example/start", "region": "us-east-1", "accessToken": "token",
        "expiresAt": in_seconds(until),
    });
    // Named after the session's SHA-1, as the AWS CLI does.
    fs::write(cache.join("71b21161ffa1e6516bcc072aaf5ef38cbe85b511.json"), token.to_string()).unwrap();
}

#[test]
fn those_of_single_sign_on() {
    let server = seaweed::shared();
    let bucket = server.fresh_bucket();
    let open = |house: &Http, until: Timestamp| {
        let home = tempfile::tempdir().unwrap();
        logged_in(home.path(), until);
        let portal = format!("http://{}", house.address());
        opened(house, &bucket, home.path(), &[("AWS_ENDPOINT_URL_SSO", portal)])
    };
    let soon = Timestamp::now() + HOUR;
    let portal = |body: Action| house(server, "/federation/credentials", body);

    let handing = portal(answer(200, &of_role(S3::ACCESS_KEY, S3::SECRET_KEY)));
    let said = open(&handing, soon);
    assert!(said.contains("it is open"), "{said}");
    let asked = handing.requests();
    let asked = asked.iter().find(|request| request.path == "/federation/credentials").unwrap();
    assert_eq!(asked.header("x-amz-sso_bearer_token"), Some("token"));

    let said = open(&handing, Timestamp::now() - HOUR);
    assert!(said.contains("Denied") && said.contains("`aws sso login`"), "{said}");

    let refusing = portal(answer(401, &json!({ "message": "Session token not found or invalid" })));
    let said = open(&refusing, soon);
    assert!(said.contains("Denied") && said.contains("`aws sso login`"), "{said}");

    let said = open(&portal(answer(200, &of_role("ASIAUNKNOWN", "secret"))), soon);
    assert!(said.contains("Denied") && said.contains("does not know the access key"), "{said}");
}

#[test]
fn only_who_signed_the_certificate_is_trusted() {
    let server = seaweed::start_over_tls();
    let (bucket, home) = (server.fresh_bucket(), tempfile::tempdir().unwrap());
    let file = |name: &str| server.server().unwrap().dir().join(name).display().to_string();
    let open = |endpoint: &str, ca: Option<&str>, env: &[(&str, String)]| {
        let mut params = params(endpoint, &bucket);
        params["credentials"] = json!({ "access-key": S3::ACCESS_KEY, "secret-key": S3::SECRET_KEY });
        if let Some(name) = ca {
            params["ca-certificate"] = json!(file(name));
        }
        opened_as(&params, home.path(), env)
    };
    let said = open(server.endpoint(), Some("ca.pem"), &[]);
    assert!(said.contains("it is open"), "{said}");
    let said = open(server.endpoint(), None, &[("AWS_CA_BUNDLE", file("ca.pem"))]);
    assert!(said.contains("it is open"), "{said}");
    let said = open(server.endpoint(), Some("ca.pem"), &[("AWS_CA_BUNDLE", file("client.pem"))]);
    assert!(said.contains("it is open"), "{said}");

    // Refusals are asked for again for some seconds: side by side.
    let other = server.endpoint().replace("127.0.0.1", "localhost");
    let cases = [
        (server.endpoint(), None, "`ca-certificate`"),
        (server.endpoint(), Some("client.pem"), "`ca-certificate`"),
        // A certificate for 127.0.0.1 is none for this name.
        (other.as_str(), Some("ca.pem"), "the host that `endpoint-url` names"),
    ];
    std::thread::scope(|scope| {
        for (endpoint, ca, helps) in cases {
            let open = &open;
            scope.spawn(move || {
                let said = open(endpoint, ca, &[]);
                assert!(said.contains("Denied") && said.contains(helps), "{said}");
            });
        }
    });
    let said = open(server.endpoint(), Some("server.key"), &[]);
    assert!(said.contains("Malformed") && said.contains("server.key"), "{said}");
}
