//! Answers that are ready at the same time leave in one write.
//!
//! HTTP/2 flushes after each larger frame, which costs a TLS record and a system call for every answer. Here a flush right after a write
//! only asks for another turn of the task; one with nothing written since is real, and comes at the latest in that turn.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// What gathers before it is written without being asked, in bytes: four full TLS records. A connection takes as much of it as its
/// answers ever filled.
const GATHERED: usize = 64 * 1024;

/// A stream whose flushes wait for what else there is to write.
pub(super) struct Coalescing<S> {
    stream: BufWriter<S>,
    /// Whether they do. Over HTTP/1.1 there is one answer at a time.
    waits: bool,
    /// Something was written after the last flush.
    written: bool,
}

impl<S: AsyncWrite> Coalescing<S> {
    pub(super) fn new(stream: S, http2: bool) -> Self {
        Self {
            stream: BufWriter::with_capacity(GATHERED, stream),
            waits: http2,
            written: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalescing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalescing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written = true;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.written) && self.waits {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What was written, write by write.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Writes {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[rstest]
    #[case::over_http2(true, &["ab"])]
    #[case::over_http1(false, &["a", "b"])]
    #[tokio::test]
    async fn what_is_flushed_piece_by_piece_leaves_in_one_write(
        #[case] http2: bool,
        #[case] writes: &[&str],
    ) {
        let mut stream = Coalescing::new(Writes::default(), http2);
        for piece in ["a", "b"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream.flush().await.unwrap();
        let written: Vec<_> = stream
            .stream
            .get_ref()
            .0
            .iter()
            .map(|write| str::from_utf8(write).unwrap())
            .collect();
        assert_eq!(written, writes);
    }

    #[tokio::test]
    async fn nothing_is_left_behind_at_the_end() {
        let mut stream = Coalescing::new(Writes::default(), true);
        stream.write_all(b"a").await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.stream.get_ref().0, [b"a"]);
    }
}
