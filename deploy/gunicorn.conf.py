"""How the app is served, in the demo and in production alike; the reasons are in docs/decisions/0001-web-server.md."""

worker_class = "gthread"
workers = 2
threads = 4
control_socket_disable = True
