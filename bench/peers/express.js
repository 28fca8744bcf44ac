// express and http-proxy-middleware with a keep-alive agent.
// usage: node express.js THREADS PORT COUNT UPSTREAM_PORT   (NODE_PATH points at node_modules)
const cluster = require('cluster');
const [threads, port, count, upstream] = process.argv.slice(2).map(Number);

function serve() {
  const http = require('http');
  const express = require('express');
  const { createProxyMiddleware } = require('http-proxy-middleware');
  const servers = [];
  for (let i = 0; i < count; i++) {
    const agent = new http.Agent({ keepAlive: true, maxFreeSockets: 1024 });
    const app = express();
    app.disable('x-powered-by');
    const target = `http://127.0.0.1:${upstream}`;
    app.use(createProxyMiddleware({ target, changeOrigin: true, xfwd: true, agent }));
    const server = http.createServer(app);
    server.keepAliveTimeout = 300000;
    server.listen(port + i, '127.0.0.1', 4096);
    servers.push(server);
  }
  process.on('SIGTERM', () => {
    let left = servers.length;
    for (const server of servers) {
      server.close(() => { if (--left === 0) process.exit(0); });
      server.closeIdleConnections();
    }
    setTimeout(() => process.exit(3), 10000).unref();
  });
}

if (threads > 1 && cluster.isPrimary) {
  for (let i = 0; i < threads; i++) cluster.fork();
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM');
  });
  cluster.on('exit', () => {
    if (Object.keys(cluster.workers).length === 0) process.exit(0);
  });
} else {
  serve();
}
