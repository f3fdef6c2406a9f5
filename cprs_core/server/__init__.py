"""``cprs serve``: one model for many programs, over HTTP (extra ``server``).

settings     what the service allows
ticket       one request's right to be worked on: its deadline, and how it is cancelled
scheduler    windows of all requests in common batches, in turn
service      requests in threads: how many, how long, and the end of all of them
auth, metrics, tracing
gate         what every request passes: id, key, body, place; and in the end metrics and a line in the log
body         a body, read whole, within its size, time and number of values
problems     errors as RFC 9457 problems
schemas      the bodies
routes       /v1/*, /health, /ready, /metrics
events       answers in parts
scores       /v1/scores, for clients that select by themselves
playground   the page at /, which is one
released     the route of the released code
app          all of it together
connection   the connections: what they may take, and how many there are
sockets      where it listens
listener     uvicorn, and how it stops
command      ``cprs serve``
"""
