//! Page data: what frameworks serve under a separate path, so that a click needs no new document. Whoever may
//! read a page may read its data, and nobody else.

/// Reports every page whose data is at a path. There are several where frameworks, or versions of one, read
/// the path differently.
///
/// Slashes at the end are removed first: Next.js with `skipTrailingSlashRedirect` and Express accept the path
/// without them. Names of frameworks are compared without case: many serve such data from files, and Windows
/// ignores case.
///
/// A page is no longer than the path, and there are six at most. It may end in a dot segment: Remix serves
/// the data of `/` at `/a/...data`.
pub(super) fn pages(path: &str, tell: &mut dyn FnMut(String)) {
    let path = path.trim_end_matches('/');
    let Some((folder, name)) = path.rsplit_once('/') else { return };
    match name.as_bytes() {
        [.., b'n' | b'N' | b's' | b'S' | b't' | b'T'] => {
            if IN_FOLDER.iter().any(|known| name.eq_ignore_ascii_case(known)) || is_payload(name) {
                tell(if folder.is_empty() { "/".to_owned() } else { folder.to_owned() });
            }
            in_file(path, tell);
            below(path, tell);
        }
        [.., b'a' | b'A' | b'c' | b'C'] => in_file(path, tell),
        // Most paths have another extension.
        _ => {}
    }
}

/// Says whether a path holds page data.
pub(super) fn is_data(path: &str) -> bool {
    let mut found = false;
    pages(path, &mut |_| found = true);
    found
}

/// Data in the folder of its page: SvelteKit, Qwik City, Vike, React Static and elm-pages.
const IN_FOLDER: [&str; 5] =
    ["__data.json", "q-data.json", "index.pageContext.json", "routeInfo.json", "content.dat"];

/// Says whether a name is one of Nuxt's payloads, in the folder of the page: `_payload.json` or
/// `_payload.js`. Nuxt 3 matches `/_payload.json$/`, so any character may be the dot, and before version 3.7
/// `_payload.a1.json` is one, too.
fn is_payload(name: &str) -> bool {
    let Some((start, rest)) = name.split_at_checked("_payload".len()) else { return false };
    let between = before(rest, "json").or_else(|| before(rest, "js"));
    start.eq_ignore_ascii_case("_payload") && between.is_some_and(|between| !between.is_empty())
}

/// Data with an extension behind the path of its page: `/a.data` and `/a/.data` in React Router and Remix,
/// `/a.rsc` there and in Next.js, `/a.html__data.json` for `/a.html` in SvelteKit, `/a.pageContext.json` in
/// files of Vike.
fn in_file(path: &str, tell: &mut dyn FnMut(String)) {
    if let Some(page) = before(path, ".html__data.json") {
        file(&format!("{page}.html"), tell);
        file(page, tell);
    } else if let Some(page) = before(path, ".pageContext.json").or_else(|| before(path, ".data")) {
        file(page, tell);
    } else if let Some(page) = before(path, ".rsc") {
        file(page, tell);
        // `/a.prefetch.rsc`, `/a.segments/_tree.segment.rsc`: parts of a page in Next.js.
        let part =
            before(page, ".segment").and_then(|page| page.rsplit_once(".segments/")).map(|(page, _)| page);
        if let Some(page) = part.or_else(|| before(page, ".prefetch")) {
            file(page, tell);
        }
    }
}

/// Reports a page, and the folder for which its name stands: `/_root.data`, `/a/_.data`, `/a/.data` (React
/// Router), `/index.rsc` (Next.js). For React Router a folder with and without its slash is one page.
fn file(page: &str, tell: &mut dyn FnMut(String)) {
    tell(page.to_owned());
    let Some((folder, name)) = page.rsplit_once('/') else { return };
    if ["_root", "index", "_"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
        tell(format!("{folder}/"));
    } else if !name.is_empty() {
        return;
    }
    if !folder.is_empty() {
        tell(folder.to_owned());
    }
}

/// Data below one folder for all pages, which is where the app is mounted.
fn below(path: &str, tell: &mut dyn FnMut(String)) {
    // Next.js: `/_next/data/BUILD/a.json`.
    if let Some(json) = before(path, ".json")
        && let Some((base, rest)) = around(json, "/_next/data/")
        && let Some((_, page)) = rest.split_once('/')
    {
        tell(format!("{base}/{}", unless_start(page, "index")));
        // Before version 13.4 Next.js removes this from whatever follows, since a page of that name is
        // `index/index` there.
        if let Some((index, page)) = page.split_once('/')
            && index.eq_ignore_ascii_case("index")
        {
            tell(format!("{base}/{page}"));
        }
    }
    // Gatsby: `/page-data/a/page-data.json`.
    if let Some(data) = before(path, "/page-data.json")
        && let Some((base, page)) = around(data, "/page-data/")
    {
        tell(format!("{base}/{}", unless_start(page, "index")));
    }
    // Nuxt 2: `/_nuxt/static/VERSION/a/payload.js`.
    if let Some(script) = before(path, "/payload.js").or_else(|| before(path, "/state.js"))
        && let Some((base, rest)) = around(script, "/_nuxt/static/")
    {
        tell(format!("{base}/{}", rest.split_once('/').map_or("", |(_, page)| page)));
    }
    // Waku: `/RSC/R/a.txt`. It removes one `_` from either end.
    if let Some(text) = before(path, ".txt")
        && let Some((base, route)) = around(text, "/RSC/")
    {
        let route = route.strip_prefix('_').unwrap_or(route);
        let route = route.strip_suffix('_').unwrap_or(route);
        if let Some((kind, page)) = route.split_once('/')
            && kind.eq_ignore_ascii_case("R")
        {
            let page = unless_start(page, "_root");
            tell(format!(
                "{base}/{}",
                if page.starts_with("__") { page.get(1..).unwrap_or_default() } else { page }
            ));
        }
    }
}

/// Returns the name of a page, empty for the start page.
fn unless_start<'p>(page: &'p str, start: &str) -> &'p str {
    if page.eq_ignore_ascii_case(start) { "" } else { page }
}

/// Returns what precedes an ending.
fn before<'t>(text: &'t str, ending: &str) -> Option<&'t str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(ending.len())?)?;
    end.eq_ignore_ascii_case(ending).then_some(rest)
}

/// Returns what precedes and follows the first occurrence of a folder, a name that begins and ends with a
/// slash.
fn around<'t>(path: &'t str, folder: &str) -> Option<(&'t str, &'t str)> {
    let name = folder.as_bytes();
    // Octet by octet: a path may consist of slashes, and at each a search would cost more than a comparison.
    let is_here =
        |place: &[u8]| place.iter().zip(name).all(|(octet, named)| octet.eq_ignore_ascii_case(named));
    let at = path.as_bytes().windows(name.len()).position(is_here)?;
    Some((path.get(..at)?, path.get(at.saturating_add(name.len())..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str) -> Vec<String> {
        let mut found = Vec::new();
        pages(path, &mut |page| found.push(page));
        assert_eq!(is_data(path), !found.is_empty(), "{path}");
        assert!(
            found.len() <= 6 && found.iter().all(|page| page.starts_with('/') && page.len() <= path.len()),
            "{path}: {found:?}"
        );
        found
    }

    #[test]
    fn data_in_the_folder_of_its_page() {
        for name in [
            "__data.json",
            "_payload.json",
            "_payload.js",
            "q-data.json",
            "index.pageContext.json",
            "routeInfo.json",
            "content.dat",
        ] {
            assert!(told(&format!("/a/x/{name}")).contains(&"/a/x".to_owned()), "{name}");
            assert!(told(&format!("/a/x/{}/", name.to_uppercase())).contains(&"/a/x".to_owned()), "{name}");
            assert!(told(&format!("/{name}")).contains(&"/".to_owned()), "{name}");
            assert_eq!(told(&format!("/a/x{name}")).iter().find(|page| *page == "/a"), None, "{name}");
        }
        // Nuxt accepts any character as the dot.
        for name in ["_payload-json", "_payloadxjs", "_payload.5f3A.json", "_payload._json"] {
            assert_eq!(told(&format!("/a/{name}")), ["/a"], "{name}");
        }
        for path in [
            "/a/_payloadjson",
            "/a/_payload",
            "/a/payload.json",
            "/a/data.json",
            "/a/__data.jsonx",
            "/a/__data.json/x",
            "/a/context.dat",
        ] {
            assert_eq!(told(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn data_under_the_name_of_its_page() {
        assert_eq!(told("/a/x.data"), ["/a/x"]);
        assert_eq!(told("/a/x.data/"), ["/a/x"]);
        assert_eq!(told("/a/x.DATA"), ["/a/x"]);
        assert_eq!(told("/a/.data"), ["/a/", "/a"]);
        assert_eq!(told("/.data"), ["/"]);
        assert_eq!(told("/_root.data"), ["/_root", "/"]);
        assert_eq!(told("/a/_.data"), ["/a/_", "/a/", "/a"]);
        assert_eq!(told("/a/x.rsc"), ["/a/x"]);
        assert_eq!(told("/index.rsc"), ["/index", "/"]);
        assert_eq!(told("/a.prefetch.rsc"), ["/a.prefetch", "/a"]);
        assert_eq!(told("/a.segments/b/_tree.segment.rsc"), ["/a.segments/b/_tree.segment", "/a"]);
        assert_eq!(
            told("/index.segments/_tree.segment.rsc"),
            ["/index.segments/_tree.segment", "/index", "/"]
        );
        assert_eq!(told("/a/x.html__data.json"), ["/a/x.html", "/a/x"]);
        assert_eq!(told("/a.pageContext.json"), ["/a"]);
        assert_eq!(told("/_next/data/B/index/index.pageContext.json").len(), 6);
        for path in [
            "/",
            "/a",
            "/a.database",
            "/a.datas",
            "/data",
            "/a__data.json",
            "/a.htm__data.json",
            "/a.rscx",
            "/rsc",
            "/pageContext.json",
        ] {
            assert_eq!(told(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn data_of_all_pages_in_a_folder() {
        for (path, pages) in [
            ("/_next/data/B/a/x.json", &["/a/x"][..]),
            ("/_next/data/B/a/x.json/", &["/a/x"]),
            ("/_next/data/B/index.json", &["/"]),
            ("/_next/data/B/index/a.json", &["/index/a", "/a"]),
            ("/_next/data/B/index/index.json", &["/index/index", "/index"]),
            ("/_next/data/B/en/a.json", &["/en/a"]),
            ("/docs/_next/data/B/a.json", &["/docs/a"]),
            ("/_Next/Data/B/a.JSON", &["/a"]),
            ("/page-data/a/x/page-data.json", &["/a/x"]),
            ("/page-data/a/page-data.json/", &["/a"]),
            ("/page-data/index/page-data.json", &["/"]),
            ("/docs/page-data/index/page-data.json", &["/docs/"]),
            ("/PAGE-DATA/a/page-data.json", &["/a"]),
            ("/_nuxt/static/1/a/x/payload.js", &["/a/x"]),
            ("/_nuxt/static/1/a/state.js", &["/a"]),
            ("/_nuxt/static/1/payload.js", &["/"]),
            ("/RSC/R/a/x.txt", &["/a/x"]),
            ("/RSC/_R/a_.txt", &["/a"]),
            ("/RSC/R/_root.txt", &["/"]),
            ("/docs/RSC/R/__x.txt", &["/docs/_x"]),
        ] {
            assert_eq!(told(path), pages, "{path}");
        }
        for path in [
            "/_next/data/B",
            "/_next/data/B.json",
            "/_next/data/B/a",
            "/_next/static/B/a.json",
            "/page-data/app-data.json",
            "/page-data/page-data.json",
            "/page-data/sq/d/1.json",
            "/a/page-data.json",
            "/_nuxt/static/1/manifest.js",
            "/_nuxt/a/payload.js",
            "/RSC/S/a.txt",
            "/RSC/F/a/b.txt",
            "/R/a.txt",
            "/robots.txt",
        ] {
            assert_eq!(told(path), [""; 0], "{path}");
        }
    }
}
