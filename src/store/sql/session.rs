//! One connection to a server that speaks PostgreSQL, used like one to a file: a call waits for its answer.
//!
//! The connection itself lives on a thread of its own, so a caller that waits never keeps the answer from coming.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use futures_util::{
    TryStreamExt,
    future::{BoxFuture, MaybeDone, maybe_done},
};
use tokio::{runtime, task::coop::unconstrained};
use tokio_postgres::{Client, Row, RowStream, types::Type};

use super::{
    Error, Params, Result, Value, dialect,
    endpoint::Endpoint,
    value::{Encoded, Given},
};

/// A server that says nothing for so long is given up; it ends a statement by itself before that.
const ANSWER: Duration = Duration::from_secs(35);
const CONNECT: Duration = Duration::from_secs(10);

/// What every connection asks of its server: whoever waited for a row sees it as it is then, whatever the role or the database is set
/// to. A session that stops in the middle of a transaction (a paused process)
/// must not keep its locks from whoever takes over.
const SETTINGS: &str =
    "SET default_transaction_isolation = 'read committed'; SET statement_timeout = '30s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '5s'; SET client_min_messages = 'warning'";

/// Rows that one statement writes: the server works on them while the next are on their way.
const GROUP: usize = 256;

const NOTHING: [Value<'static>; 0] = [];

/// How many statements are kept; a router has about a hundred.
const KEPT: usize = 400;

/// The thread that connections live on.
pub struct Link(Option<runtime::Runtime>);

impl Link {
    pub fn start() -> Result<Arc<Self>> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|error| Error::Unreachable(error.to_string()))?;
        Ok(Arc::new(Self(Some(runtime))))
    }

    /// Waits here until `work` is done. What is async around here goes on meanwhile, where the runtime can do that.
    pub fn wait<T>(&self, by: Duration, work: impl Future<Output = T>) -> Result<T> {
        let wait = || {
            let _within = self.0.as_ref().map(runtime::Runtime::enter);
            block_on(unconstrained(tokio::time::timeout(by, work)))
                .map_err(|_| Error::Unreachable(format!("no answer within {} s", by.as_secs())))
        };
        match runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(work);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The last handle may go where nothing may be waited for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A connection that is made anew when it is gone.
pub struct Session {
    link: Arc<Link>,
    endpoint: Arc<Endpoint>,
    client: RefCell<Arc<Client>>,
    /// Sent and not waited for: the way to the server is gone once for all of them.
    underway: RefCell<Vec<Underway>>,
    statements: RefCell<HashMap<String, Prepared>>,
    /// It leads to a server that takes no writes (any more).
    demoted: Cell<bool>,
}

type Underway = MaybeDone<BoxFuture<'static, std::result::Result<(), tokio_postgres::Error>>>;

/// A statement that the server knows.
#[derive(Clone)]
pub struct Prepared {
    /// As it is written for both databases.
    sql: Arc<str>,
    statement: tokio_postgres::Statement,
}

impl Session {
    pub fn connect(link: Arc<Link>, endpoint: Arc<Endpoint>) -> Result<Self> {
        let client = connect(&link, &endpoint)?;
        Ok(Self {
            link,
            endpoint,
            client: RefCell::new(Arc::new(client)),
            underway: RefCell::default(),
            statements: RefCell::default(),
            demoted: Cell::new(false),
        })
    }

    /// Makes the connection anew if it is gone, or leads to a server that is the primary no more. Only between transactions.
    pub fn ensure(&self) -> Result<()> {
        if self.client.borrow().is_closed() || self.demoted.get() { self.renew() } else { Ok(()) }
    }

    /// Makes the connection anew. Only between transactions.
    pub fn renew(&self) -> Result<()> {
        let client = connect(&self.link, &self.endpoint)?;
        self.statements.borrow_mut().clear();
        self.underway.borrow_mut().clear();
        *self.client.borrow_mut() = Arc::new(client);
        self.demoted.set(false);
        Ok(())
    }

    fn wait<T>(&self, work: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>) -> Result<T> {
        let answer = self.answer(work);
        // Of a transaction that something before it has spoiled a server says only that.
        if matches!(answer, Err(Error::Postgres(_))) {
            self.settle()?;
        }
        answer
    }

    fn answer<T>(&self, work: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>) -> Result<T> {
        let answer = self.link.wait(ANSWER, work)?.map_err(Error::from);
        if answer.as_ref().is_err_and(Error::is_read_only) {
            self.demoted.set(true);
        }
        answer
    }

    /// Sends something now, and has what comes of it waited for later: by [`settle`](Self::settle), or by what is asked next.
    fn later(&self, work: impl Future<Output = std::result::Result<(), tokio_postgres::Error>> + Send + 'static) {
        let mut work = maybe_done(Box::pin(work) as BoxFuture<'static, _>);
        let _ = Pin::new(&mut work).poll(&mut Context::from_waker(Waker::noop()));
        self.underway.borrow_mut().push(work);
    }

    /// Waits for all that is underway; the first error of it.
    pub fn settle(&self) -> Result<()> {
        let mut underway = self.underway.take();
        if underway.is_empty() {
            return Ok(());
        }
        self.answer(async {
            let mut first = Ok(());
            for work in &mut underway {
                Pin::new(&mut *work).await;
                first = first.and(Pin::new(work).take_output().unwrap_or(Ok(())));
            }
            first
        })
    }

    pub fn prepare(&self, sql: &str) -> Result<Prepared> {
        self.prepare_as(sql, || dialect::postgres(sql))
    }

    /// `text`: what the server is told.
    fn prepare_as(&self, sql: &str, text: impl FnOnce() -> String) -> Result<Prepared> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(known.clone());
        }
        let statement = self.wait(self.client.borrow().prepare(&text()))?;
        let prepared = Prepared { sql: sql.into(), statement };
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= KEPT {
            statements.clear();
        }
        statements.insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        let settled = self.settle();
        // What went wrong is undone all the same.
        if !sql.starts_with("ROLLBACK") {
            settled?;
        }
        self.wait(self.client.borrow().batch_execute(sql))
    }

    /// A word on the transaction whose answer says nothing.
    pub fn execute_batch_later(&self, sql: &'static str) {
        let client = Arc::clone(&self.client.borrow());
        self.later(async move { client.batch_execute(sql).await });
    }

    pub fn execute(&self, prepared: &Prepared, values: &[Value<'_>]) -> Result<usize> {
        let rows = self.wait(self.client.borrow().execute_raw(&prepared.statement, values))?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    /// Sends all of them, in this order, and waits for none: [`settle`](Self::settle) does.
    pub fn execute_each<P: Params>(
        &self,
        prepared: &Prepared,
        rows: impl IntoIterator<Item = P>,
        distinct: bool,
    ) -> Result<()> {
        let rows: Vec<P> = rows.into_iter().collect();
        for (statement, given) in self.grouped(prepared, &rows, distinct)? {
            let encoded = given.iter().zip(statement.params()).map(|(given, of)| Encoded::new(given, of));
            let encoded = encoded.collect::<Result<Vec<_>>>()?;
            let client = Arc::clone(&self.client.borrow());
            self.later(async move { client.execute_raw(&statement, encoded).await.map(drop) });
        }
        Ok(())
    }

    /// The same for rows that answer with their number, which is waited for.
    pub fn insert_each<P: Params>(&self, prepared: &Prepared, rows: impl IntoIterator<Item = P>) -> Result<Vec<i64>> {
        let rows: Vec<P> = rows.into_iter().collect();
        let sent = self.grouped(prepared, &rows, false)?;
        let client = self.client.borrow();
        let sent = sent.into_iter().map(|(statement, values)| {
            let client = &client;
            async move {
                let mut answer = pin!(client.query_raw(&statement, values).await?);
                let mut ids = Vec::new();
                while let Some(row) = answer.try_next().await? {
                    ids.push(row.try_get::<_, i64>(0)?);
                }
                Ok(ids)
            }
        });
        let ids = self.wait(in_order(sent))?.concat();
        if ids.len() == rows.len() { Ok(ids) } else { Err(Error::NoRows) }
    }

    /// As few statements as these rows can be written with.
    fn grouped<'v, P: Params>(&self, prepared: &Prepared, rows: &'v [P], distinct: bool) -> Result<Vec<Group<'v>>> {
        if rows.len() > 1
            && let Some(statement) = self.for_many(prepared, distinct)?
        {
            return Ok(rows.chunks(GROUP).map(|rows| (statement.clone(), columns(rows))).collect());
        }
        let one = |row: &'v P| (prepared.statement.clone(), row.values().into_iter().map(Given::One).collect());
        Ok(rows.iter().map(one).collect())
    }

    /// The form of a statement that takes an array for each parameter, if it has one.
    fn for_many(&self, prepared: &Prepared, distinct: bool) -> Result<Option<tokio_postgres::Statement>> {
        let types: Vec<&str> = prepared.statement.params().iter().map(Type::name).collect();
        match dialect::postgres_for_many(&prepared.sql, &types, distinct) {
            Some(sql) => Ok(Some(self.prepare_as(&sql, || sql.clone())?.statement)),
            None => Ok(None),
        }
    }

    /// The rows of several statements without parameters, which are sent at once.
    pub fn ask(&self, statements: &[&str]) -> Result<Vec<Vec<Row>>> {
        let statements = statements.iter().map(|sql| self.prepare(sql)).collect::<Result<Vec<_>>>()?;
        let client = self.client.borrow();
        let asked = statements.iter().map(|prepared| {
            let client = &client;
            async move { client.query_raw(&prepared.statement, NOTHING).await?.try_collect().await }
        });
        self.wait(in_order(asked))
    }

    pub fn query(&self, prepared: &Prepared, values: &[Value<'_>]) -> Result<Rows<'_>> {
        let stream = self.wait(self.client.borrow().query_raw(&prepared.statement, values))?;
        Ok(Rows { session: self, stream: Box::pin(stream) })
    }
}

/// A statement and what it is given.
type Group<'v> = (tokio_postgres::Statement, Vec<Given<'v>>);

/// Row after row, turned into an array for each parameter.
fn columns<P: Params>(rows: &[P]) -> Vec<Given<'_>> {
    let mut columns: Vec<Vec<Value<'_>>> = Vec::new();
    for row in rows {
        let values = row.values();
        columns.resize_with(values.len(), || Vec::with_capacity(rows.len()));
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    columns.into_iter().map(Given::Each).collect()
}

/// The rows of an answer, as they come.
pub struct Rows<'a> {
    session: &'a Session,
    stream: Pin<Box<RowStream>>,
}

impl Rows<'_> {
    pub fn next(&mut self) -> Result<Option<Row>> {
        self.session.wait(self.stream.try_next())
    }
}

fn connect(link: &Arc<Link>, endpoint: &Endpoint) -> Result<Client> {
    link.wait(CONNECT, async {
        let (client, connection) = endpoint.connect().await?;
        link.spawn(connection);
        client.batch_execute(SETTINGS).await?;
        Ok(client)
    })?
}

/// Starts each before it waits for the first.
async fn in_order<T, E>(
    work: impl Iterator<Item = impl Future<Output = std::result::Result<T, E>>>,
) -> std::result::Result<Vec<T>, E> {
    let mut begun = Vec::new();
    for work in work {
        let mut work = Box::pin(work);
        let early = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        begun.push((work, early));
    }
    let mut done = Vec::with_capacity(begun.len());
    for (work, early) in begun {
        done.push(match early {
            Poll::Ready(result) => result?,
            Poll::Pending => work.await?,
        });
    }
    Ok(done)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, whatever runtime the thread belongs to.
fn block_on<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match work.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}
