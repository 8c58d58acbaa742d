//! The daemon under the name the Wildland client starts it by.

fn main() -> std::process::ExitCode {
    wl::daemon_main()
}
