//! A directory of a real OpenSSH server passes the suite that every backend passes: with commands, without, and where
//! SFTP sees a directory of its own as the root.

mod kit;

mod commands {
    use wl_test_kit::servers::sshd::Mode;

    wl_test_kit::conformance!(crate::kit::Server::fresh(Mode::Exec).await);
}

mod sftp_only {
    use wl_test_kit::servers::sshd::Mode;

    wl_test_kit::conformance!(crate::kit::Server::fresh(Mode::SftpOnly).await);
}

mod chroot {
    use wl_test_kit::servers::sshd::Mode;

    wl_test_kit::conformance!(crate::kit::Server::fresh(Mode::Chroot).await);
}
