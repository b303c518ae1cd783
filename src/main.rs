//! The program: arguments → one command → exit code.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    octroi::cli::main()
}
