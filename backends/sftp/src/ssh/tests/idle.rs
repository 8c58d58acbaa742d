//! What is left of one pool serves the next one.

use std::fs;

use super::*;

#[tokio::test]
async fn connections_wait_for_the_next_pool_with_the_same_settings() {
    let sshd = Sshd::start(Mode::Exec);
    let settings = settings(&sshd, sshd.port());
    let first = Pool::new(settings.clone()).link().await.unwrap();
    let second = Pool::new(settings.clone());
    assert!(Arc::ptr_eq(&first, &second.link().await.unwrap()));
    let beside = Pool::new(settings.clone()).link().await.unwrap();
    assert!(!Arc::ptr_eq(&first, &beside), "one that is in use is not shared");
    let other = Settings { password: Some("other".into()), ..settings };
    let other = Pool::new(other).link().await.unwrap();
    assert!(!Arc::ptr_eq(&first, &other) && !Arc::ptr_eq(&beside, &other));
}

#[tokio::test]
async fn whoever_wants_a_new_connection_gets_one() {
    let sshd = Sshd::start(Mode::Exec);
    let settings = settings(&sshd, sshd.port());
    let first = Pool::new(settings.clone()).link().await.unwrap();
    let second = Pool::new(settings);
    assert!(Arc::ptr_eq(&first, &second.link().await.unwrap()));
    second.begin_anew();
    assert!(!Arc::ptr_eq(&first, &second.link().await.unwrap()));
}

#[tokio::test]
async fn no_connection_waits_on_which_something_still_goes_on() {
    let sshd = Sshd::start(Mode::Exec);
    let far = Tcp::with_round_trip(&sshd.address(), Duration::from_millis(400));
    let settings = settings(&sshd, far.port());
    let pool = Pool::new(settings.clone());
    let first = pool.link().await.unwrap();
    assert!(first.is_quiet());
    let asked = tokio::time::timeout(Duration::from_millis(100), first.realpath(b".")).await;
    assert!(asked.is_err() && !first.is_quiet(), "the answer takes longer");
    drop(pool);
    assert!(!Arc::ptr_eq(&first, &Pool::new(settings).link().await.unwrap()));
}

#[tokio::test]
async fn no_lost_connection_waits() {
    let sshd = Sshd::start(Mode::Exec);
    let settings = settings(&sshd, sshd.port());
    let pool = Pool::new(settings.clone());
    let first = pool.link().await.unwrap();
    drop(pool);
    sshd.kill_connections();
    while !first.is_lost() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let again = Pool::new(settings).link().await.unwrap();
    assert!(!Arc::ptr_eq(&first, &again));
    again.realpath(b".").await.unwrap();
}

#[tokio::test]
async fn whoever_is_no_longer_known_is_not_connected_with() {
    let sshd = Sshd::start(Mode::Exec);
    let settings = settings(&sshd, sshd.port());
    Pool::new(settings.clone()).link().await.unwrap();
    fs::write(settings.known_hosts.as_ref().unwrap(), "").unwrap();
    let refused = Pool::new(settings).link().await.map(drop);
    assert_eq!(refused.unwrap_err().fault, Fault::Denied);
}
