//! The command `wl`.

fn main() -> std::process::ExitCode {
    wl::main()
}
