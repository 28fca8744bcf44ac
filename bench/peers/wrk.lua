-- Heads as a browser sends them. usage: wrk -s wrk.lua URL -- get|post|close
function init(args)
  local kind = args[1] or "get"
  local headers = wrk.headers
  headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
  headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
  headers["Accept-Encoding"] = "gzip, deflate, br"
  headers["Accept-Language"] = "en-GB,en;q=0.9"
  headers["Cookie"] = "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1"
  headers["Referer"] = "http://bench.local/some/page?x=1"
  headers["Cache-Control"] = "max-age=0"
  if kind == "post" then
    wrk.method = "POST"
    wrk.body = string.rep("a", 512)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
  end
  if kind == "close" then headers["Connection"] = "close" end
end
