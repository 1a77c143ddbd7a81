//! The machine's nginx, in the foreground, with the page that a fresh container serves.
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const CONFIGURATION: &str = "\
worker_processes 1;
pid /tmp/nginx/nginx.pid;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log /dev/stdout;
    client_body_temp_path /tmp/nginx/body;
    proxy_temp_path /tmp/nginx/proxy;
    fastcgi_temp_path /tmp/nginx/fastcgi;
    uwsgi_temp_path /tmp/nginx/uwsgi;
    scgi_temp_path /tmp/nginx/scgi;
    default_type text/html;
    server {
        listen PORT;
        listen [::]:PORT;
        ROOT
    }
}
";
const PAGE: &str = "return 200 '<html><head><title>Welcome to nginx!</title></head>\
                    <body><h1>Welcome to nginx!</h1></body></html>\\n';";

/// Arguments as the image's: `nginx -g …` or none; they are nginx's own when they are given.
pub(super) fn main(arguments: &[String]) -> io::Result<()> {
    std::fs::create_dir_all("/tmp/nginx")?;
    let port = std::env::var("NGINX_PORT").unwrap_or_else(|_absent| "80".to_owned());
    let pages = Path::new("/usr/share/nginx/html");
    let root = if pages.join("index.html").exists() {
        "location / { root /usr/share/nginx/html; index index.html; }".to_owned()
    } else {
        format!("location / {{ {PAGE} }}")
    };
    let file = "/tmp/nginx/nginx.conf";
    std::fs::write(file, CONFIGURATION.replace("PORT", &port).replace("ROOT", &root))?;
    let rest = arguments.strip_prefix(&["nginx".to_owned()]).unwrap_or(arguments);
    let mut command = Command::new("nginx");
    command.args(["-c", file]);
    if rest.is_empty() {
        command.args(["-g", "daemon off;"]);
    } else {
        command.args(rest);
    }
    let error = command.exec();
    Err(io::Error::new(error.kind(), format!("this machine's nginx does not start: {error}")))
}
