//! A line between two machines that can be cut: what is said on it is then neither passed on nor refused, as in a network that has
//! fallen apart.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Passes on what comes to [`Line::address`]; ends with the value.
pub struct Line {
    address: SocketAddr,
    far: Arc<Mutex<String>>,
    whole: watch::Sender<bool>,
    unanswered: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Line {
    /// A line to `far`, an address such as `127.0.0.1:5432`.
    pub async fn to(far: String) -> io::Result<Self> {
        Self::between("127.0.0.1", far).await
    }

    /// The same from another address of this machine, on a free port.
    pub async fn between(near: &str, far: String) -> io::Result<Self> {
        let listener = TcpListener::bind((near, 0)).await?;
        let address = listener.local_addr()?;
        let (whole, watched) = watch::channel(true);
        let far = Arc::new(Mutex::new(far));
        let leads_to = Arc::clone(&far);
        let unanswered = Arc::<Mutex<Option<String>>>::default();
        let to_lose = Arc::clone(&unanswered);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = leads_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (watched, to_lose) = (watched.clone(), Arc::clone(&to_lose));
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(far).await {
                        connect(near, far, watched, to_lose).await;
                    }
                });
            }
        });
        Ok(Self { address, far, whole, unanswered, task })
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections lead elsewhere, as after the name of a database was given to another server.
    pub fn lead_to(&self, far: String) {
        *self.far.lock().unwrap_or_else(PoisonError::into_inner) = far;
    }

    /// Nothing gets through any more, in either direction.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// The next time that these words get through, the answer does not, and the connection ends.
    pub fn lose_answer_to(&self, words: &str) {
        *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner) = Some(words.to_owned());
    }

    /// Everything gets through again, also what was said meanwhile.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(
    near: TcpStream,
    far: TcpStream,
    whole: watch::Receiver<bool>,
    unanswered: Arc<Mutex<Option<String>>>,
) {
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let lost = AtomicBool::new(false);
    let asked = |said: &[u8]| {
        let mut unanswered = unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        if unanswered.as_ref().is_some_and(|words| said.windows(words.len()).any(|part| part == words.as_bytes())) {
            *unanswered = None;
            lost.store(true, Ordering::SeqCst);
        }
        true
    };
    let answered = |_: &[u8]| !lost.load(Ordering::SeqCst);
    tokio::join!(pass_on(near_read, far_write, whole.clone(), asked), pass_on(far_read, near_write, whole, answered));
}

/// `may_pass`: what was read goes on; otherwise the connection ends.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut whole: watch::Receiver<bool>,
    may_pass: impl Fn(&[u8]) -> bool,
) {
    let mut part = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut part).await.unwrap_or(0);
        // Also the end of a connection is news that does not get through.
        if whole.wait_for(|whole| *whole).await.is_err()
            || read == 0
            || !may_pass(&part[..read])
            || to.write_all(&part[..read]).await.is_err()
        {
            let _ = to.shutdown().await;
            return;
        }
    }
}
