//! An entry point for the fuzz targets only, hidden from the documentation.

use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::Head;

/// Reads one request: method, path and body, or the name of the fault.
pub async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
) -> Result<(String, String, Vec<u8>), String> {
    let mut head = Head::read(stream).await.map_err(|fault| format!("{fault:?}"))?;
    let body = head.read_body(stream).await.map_err(|fault| format!("{fault:?}"))?;
    Ok((head.method, head.path, body))
}
