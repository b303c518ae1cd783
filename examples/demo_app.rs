//! The app behind the demo: it has no passwords and no sessions of its own; octroi brings who asks.
//!
//! It signs people in by answering `Octroi-Session-Grant`, signs them out with `Octroi-Session-Revoke`, and otherwise believes
//! the `Octroi-*` fields, which only octroi can set. Usage: `demo_app [ADDRESS]`.

#![allow(clippy::print_stdout, reason = "it tells where it listens")]

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Who can sign in: name, tenant, roles.
const PEOPLE: [(&str, &str, &str); 4] = [
    ("alice", "acme", r#""admin" "editor""#),
    ("bob", "acme", r#""editor""#),
    ("carol", "globex", r#""editor""#),
    ("dave", "closed", r#""editor""#),
];

/// What was written, by tenant.
type Notes = Mutex<HashMap<String, Vec<String>>>;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let listener = TcpListener::bind(&address)?;
    println!("demo app on http://{}", listener.local_addr()?);
    let notes: &'static Notes = Box::leak(Box::default());
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || serve(stream, notes));
    }
    Ok(())
}

/// A page that no buffer of a system takes in whole, for those who look at what slow readers can hold.
fn large(writer: &mut TcpStream) -> io::Result<()> {
    static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    const PIECES: usize = 256;
    let length = PIECE.len() * PIECES;
    writer.write_all(
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
    )?;
    for _ in 0..PIECES {
        writer.write_all(&PIECE)?;
    }
    Ok(())
}

struct Request {
    method: String,
    path: String,
    fields: HashMap<String, String>,
    form: HashMap<String, String>,
    /// Octets of its body.
    length: usize,
}

impl Request {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

fn serve(stream: TcpStream, notes: &Notes) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read(&mut reader)? {
        if (request.method.as_str(), request.path.as_str()) == ("GET", "/public/large") {
            large(&mut writer)?;
            continue;
        }
        let answer = answer(&request, notes);
        writer.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let (method, path) = (method.to_owned(), target.split('?').next().unwrap_or(target).to_owned());
    let mut fields = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(':') else { break };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if let Some(length) = fields.get("content-length").and_then(|length| length.parse().ok()) {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    } else if fields.contains_key("transfer-encoding") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let Ok(size) = usize::from_str_radix(size.trim(), 16) else { return Ok(None) };
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            body.extend(chunk.into_iter().take(size));
            if size == 0 {
                break;
            }
        }
    }
    let form = String::from_utf8_lossy(&body)
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let value = value.replace('+', " ");
            (name.to_owned(), percent_encoding::percent_decode_str(&value).decode_utf8_lossy().into_owned())
        })
        .collect();
    Ok(Some(Request { method, path, fields, form, length: body.len() }))
}

fn answer(request: &Request, notes: &Notes) -> String {
    let tenant = request.field("octroi-tenant");
    let user = request.field("octroi-user");
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/login") => page(200, &[], &sign_in(request.field("octroi-realm"))),
        ("POST", "/login") => {
            let name = request.form.get("user").map_or("", String::as_str);
            match PEOPLE.iter().find(|(person, _, _)| *person == name) {
                Some((person, tenant, roles)) => {
                    let grant = format!(
                        r#"Octroi-Session-Grant: user="u_{person}", roles=({roles}), tenant="{tenant}""#
                    );
                    page(303, &[&grant, "Location: /"], "signed in\n")
                }
                None => page(403, &[], "nobody by that name\n"),
            }
        }
        ("POST", "/logout") => {
            page(303, &["Octroi-Session-Revoke: self", "Location: /login"], "signed out\n")
        }
        ("POST", "/notes") => {
            let text = request.form.get("text").cloned().unwrap_or_default();
            notes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(tenant.to_owned())
                .or_default()
                .push(format!("{user}: {text}"));
            page(303, &["Location: /"], "written\n")
        }
        // Takes what it is sent, and keeps none of it.
        ("POST" | "PUT", "/uploads") => page(200, &[], &format!("{} octets\n", request.length)),
        ("GET" | "HEAD", "/public/") => page(200, &[], "<p>Everybody may read this page.</p>\n"),
        ("GET" | "HEAD", "/admin/") => page(
            200,
            &[],
            &format!(
                "<p>Only administrators of {} read this page. You are {}.</p>\n",
                text(tenant),
                text(user)
            ),
        ),
        ("GET" | "HEAD", "/") => page(200, &[], &home(request, notes)),
        _ => page(404, &[], "not here\n"),
    }
}

fn home(request: &Request, notes: &Notes) -> String {
    let mut body = String::from("<h1>octroi demo</h1>\n<h2>What octroi told the app</h2>\n<pre>\n");
    let mut fields: Vec<_> = request
        .fields
        .iter()
        .filter(|(name, _)| name.starts_with("octroi-") || name.starts_with("x-forwarded-"))
        .collect();
    fields.sort();
    for (name, value) in fields {
        let _ = writeln!(body, "{}: {}", text(name), text(value));
    }
    body.push_str("</pre>\n<h2>Notes of this tenant</h2>\n<ul>\n");
    for note in notes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(request.field("octroi-tenant"))
        .into_iter()
        .flatten()
    {
        let _ = writeln!(body, "<li>{}</li>", text(note));
    }
    body.push_str(
        "</ul>\n<form method=post action=/notes><input name=text><button>Write</button></form>\n\
         <form method=post action=/logout><button>Sign out</button></form>\n<p><a href=/admin/>Administration</a></p>\n",
    );
    body
}

fn sign_in(realm: &str) -> String {
    let mut body = format!("<h1>Sign in at {}</h1>\n<form method=post action=/login>\n", text(realm));
    for (person, tenant, roles) in PEOPLE {
        // A front door takes in the users of its members; any other realm only its own.
        if realm == "www" && tenant != "closed" || realm == tenant {
            let _ = writeln!(
                body,
                "<p><button name=user value={person}>{person} of {tenant}, {}</button></p>",
                text(&roles.replace('"', ""))
            );
        }
    }
    body.push_str("</form>\n");
    body
}

/// Escapes text for HTML.
fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(status: u16, fields: &[&str], body: &str) -> String {
    let phrase = match status {
        200 => "OK",
        303 => "See Other",
        403 => "Forbidden",
        _ => "Not Found",
    };
    let mut answer = format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Security-Policy: default-src 'self'; frame-ancestors 'none'\r\nContent-Length: {}\r\n",
        body.len()
    );
    for field in fields {
        let _ = write!(answer, "{field}\r\n");
    }
    let _ = write!(answer, "\r\n{body}");
    answer
}
