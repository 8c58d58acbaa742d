//! nginx with dav-ext: the careless server. It ignores every condition but `Overwrite: F`, tells no ETag in PROPFIND, lists
//! no dotfile, and refuses `Depth: infinity`.

use std::fs;
use std::process::Command;

use super::dav::Dav;
use super::process::program;

/// Starts one.
pub fn start() -> Dav {
    Dav::start("nginx", |dir, port| {
        fs::write(dir.join("nginx.conf"), config(&dir.display().to_string(), port)).expect("writing a file");
        let mut command = Command::new(program("nginx"));
        command.arg("-e").arg(dir.join("error.log")).arg("-c").arg(dir.join("nginx.conf"));
        command
    })
}

fn config(dir: &str, port: u16) -> String {
    format!(
        r"load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;
daemon off;
pid {dir}/pid;
error_log {dir}/error.log warn;
worker_processes 2;
events {{ worker_connections 512; }}
http {{
  dav_ext_lock_zone zone=locks:10m;
  access_log off;
  client_max_body_size 0;
  keepalive_requests 1000000;
  client_body_temp_path {dir}/temp/body;
  proxy_temp_path {dir}/temp/proxy;
  fastcgi_temp_path {dir}/temp/fastcgi;
  uwsgi_temp_path {dir}/temp/uwsgi;
  scgi_temp_path {dir}/temp/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {dir}/root;
    auth_basic dav;
    auth_basic_user_file {dir}/passwords;
    location / {{
      dav_methods PUT DELETE MKCOL COPY MOVE;
      dav_ext_methods PROPFIND OPTIONS LOCK UNLOCK;
      dav_ext_lock zone=locks;
      create_full_put_path off;
      dav_access user:rw group:rw all:rw;
      min_delete_depth 0;
    }}
  }}
}}
"
    )
}
