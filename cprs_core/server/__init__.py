"""``cprs serve``: one model for many programs, over HTTP (extra ``server``).

settings     what the service allows
ticket       one request's right to be worked on: its deadline, and how it is cancelled
scheduler    windows of all requests in common batches, in turn
service      requests in threads: how many, how long, and the end of all of them
auth, metrics, tracing
gate         what happens before a body is read: id, key, place, size; and after: metrics, log
problems     errors as RFC 9457 problems
schemas      the bodies
routes       /v1/*, /health, /ready, /metrics
released     the route of the released code
app          all of it together
sockets      where it listens
listener     uvicorn, and how it stops
command      ``cprs serve``
"""
