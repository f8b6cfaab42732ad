"""What pylibmc (binary and text) and pymemcache say of a server, step by step. Usage: clients.py HOST PORT"""
import sys
import pylibmc
from pymemcache.client.base import Client, PooledClient
from pymemcache import serde

host, port = sys.argv[1], int(sys.argv[2])


def show(step, *values):
    print(step + ":", *(repr(v) for v in values))


def said(function, *args):
    """What a call returns, or the name of what it raises."""
    try:
        return function(*args)
    except Exception as e:
        return type(e).__name__


for binary in (True, False):
    m = pylibmc.Client(["%s:%d" % (host, port)], binary=binary, behaviors={"cas": True, "no_block": False, "tcp_nodelay": True})
    m.flush_all()
    print("== pylibmc", "binary" if binary else "text")
    for value in (b"bytes", "text", 7, -7, 1.5, True, None, [1, "a"], {"k": (1, 2)}, "", "x" * 300000):
        m.set("k", value)
        show("set", m.get("k") == value, type(m.get("k")).__name__)
    show("get nothing", m.get("nothing"))
    show("set compressed", m.set("z", "ab" * 50000, min_compress_len=1000), m.get("z") == "ab" * 50000)
    show("set_multi", m.set_multi({"m%d" % i: i for i in range(300)}))
    show("get_multi", sorted(m.get_multi(["m%d" % i for i in range(298, 310)]).items()))
    show("delete_multi", m.delete_multi(["m1", "m2"]), m.get("m1"))
    show("add, replace", m.add("new", 1), m.add("new", 2), m.replace("new", 3), said(m.replace, "old", 1), m.get("new"))
    m.set("s", b"b")
    show("append, prepend", m.append("s", b"c"), m.prepend("s", b"a"), m.get("s"))
    m.set("n", 5)
    show("incr, decr", m.incr("n"), m.incr("n", 10), m.decr("n", 3), m.decr("n", 100))
    show("incr nothing", said(m.incr, "none"))
    show("append nothing", said(m.append, "none", b"x"))
    value, unique = m.gets("n")
    show("cas", m.cas("n", 9, unique), said(m.cas, "n", 10, unique), m.get("n"))
    show("touch", m.touch("n", 100), said(m.touch, "none", 100))
    show("delete", m.delete("n"), said(m.delete, "n"))
    show("flush", m.flush_all(), m.get("s"))
    show("stats", len(m.get_stats()) == 1, b"curr_items" in m.get_stats()[0][1] or "curr_items" in m.get_stats()[0][1])

for kind in (Client, PooledClient):
    m = kind((host, port), serde=serde.pickle_serde, default_noreply=False)
    print("== pymemcache", kind.__name__)
    m.flush_all()
    for value in (b"bytes", "text", 7, 1.5, None, [1, "a"], "x" * 300000):
        m.set("k", value)
        show("set", m.get("k") == value)
    show("noreply", m.set("q", b"1", noreply=True), m.get("q"))
    show("set_many", m.set_many({"m%d" % i: i for i in range(300)}))
    show("get_many", sorted(m.get_many(["m%d" % i for i in range(298, 310)]).items()))
    show("gets, cas", m.cas("k", "y", m.gets("k")[1]), m.cas("k", "z", b"1"), m.get("k"))
    m.set("n", "5")
    show("incr, decr", m.incr("n", 3), m.decr("n", 100), m.incr("none", 1))
    show("add, replace", m.add("new", "1"), m.add("new", "2"), m.replace("old", "1"))
    show("touch", m.touch("k", 100), m.touch("none", 1))
    show("delete", m.delete("k"), m.delete("k"), m.delete_many(["m1", "m2"]))
    show("version, limit", m.version(), m.cache_memlimit(64) if kind is Client else True)
    show("stats", b"curr_items" in m.stats())
    m.close()
