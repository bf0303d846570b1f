//! `dev-gateway`: serves the functions of a stack file on a laptop.

use std::io::{self, Write};
use std::process::ExitCode;

use dev_gateway::DevGateway;
use tokio::signal::unix::{SignalKind, signal};

mod cli;

/// Wrong usage, as in `sysexits.h`.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_target(false).init();
    let options = match cli::parse(std::env::args_os().skip(1)) {
        Ok(cli::Request::Serve(options)) => options,
        Ok(cli::Request::Print(text)) => return print(&text),
        Err(error) => {
            tracing::error!("{error}; see --help");
            return ExitCode::from(USAGE);
        }
    };
    // One thread: the gateway then takes one core at most, and leaves the others to what is measured or developed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve(*options)));
    match served {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the gateway ends");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: cli::Options) -> io::Result<ExitCode> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let gateway = match DevGateway::start(options.config).await {
        Ok(gateway) => gateway,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the gateway did not start");
            return Ok(ExitCode::from(USAGE));
        }
    };
    print(&format!("listening on {}\n", gateway.url()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    gateway.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
