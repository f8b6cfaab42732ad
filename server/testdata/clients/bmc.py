"""What python-binary-memcached says of servers. Usage: bmc.py steps SERVER, or bmc.py spread SERVER SERVER"""
import sys
import time
import bmemcached
from show import VALUES, said, show

mode, *servers = sys.argv[1:]


def spread():
    m = bmemcached.DistributedClient(tuple(servers))
    keys = ["ring:%d" % i for i in range(200)]
    failed = m.set_multi({key: "value of " + key for key in keys})
    show("ring", failed, len(m.get_multi(keys)), m.get("ring:7"), m.delete("ring:8"), len(m.get_multi(keys)), m.delete_multi(["ring:9", "ring:10"]), len(m.get_multi(keys)))


def steps():
    m = bmemcached.ReplicatingClient(tuple(servers), socket_timeout=20)
    show("flush", m.set("gone", 1), m.flush_all(), m.get("gone"))
    for name, value in VALUES.items():
        key = name.replace(" ", "-")
        show("set " + name, m.set(key, value), m.get(key) == value, type(m.get(key)).__name__)
    for size in (127, 128, 129, 100000):  # on both sides of the least size that is compressed
        key = "large-%d" % size
        show(key, m.set(key, "x" * size), m.get(key) == "x" * size)
    show("levels", m.set("fast", "ab" * 5000, compress_level=1), m.set("best", "ab" * 5000, compress_level=9), m.get("fast") == m.get("best"))
    show("plain", m.set("plain", "y" * 1000000, compress_level=0), len(m.get("plain")))
    show("too large", said(m.set, "plain", "z" * 2000000, compress_level=0), m.get("plain"))
    show("get nothing", m.get("nothing"), m.get("nothing", default="default"))

    many = {"many-%d" % i: "value %d" % i for i in range(300)}
    show("set_multi", m.set_multi(many, time=1000), m.get_multi(list(many)) == many)
    show("get_multi", sorted(m.get_multi(["many-1", "nothing", "many-2"]).items()), m.get_multi(["nothing"]), m.get_multi(["many-3", "nothing"]))
    with_cas = m.get_multi(["many-1", "nothing", "many-2"], get_cas=True)
    show("with cas", sorted((key, value, cas > 0) for key, (value, cas) in with_cas.items()))
    m.set("many-2", "changed")
    failed = m.set_multi({("many-1", with_cas["many-1"][1]): "by cas", ("many-2", with_cas["many-2"][1]): "conflict", ("many-new", 0): "added", ("many-3", 0): "there"})
    show("set_multi by cas", sorted(key for key, cas in failed), [m.get(key) for key in ("many-1", "many-2", "many-new", "many-3")])
    show("delete_multi", m.delete_multi(["many-4", "many-5"]), m.delete_multi(["many-4", "many-6"]), m.get_multi(["many-4", "many-5", "many-6"]))

    show("add", m.add("new", 1), m.add("new", 2), m.get("new"))
    show("replace", m.replace("new", 3), m.get("new"), m.replace("nothing", 3), m.get("nothing"))
    show("delete", m.delete("new"), m.delete("new"), m.get("new"))
    m.set("swap", "one")
    value, cas = m.gets("swap")
    show("gets", value, cas > 0, m.gets("nothing"))
    show("cas", m.cas("swap", "two", cas), m.cas("swap", "three", cas), m.get("swap"), m.cas("nothing", "x", cas), m.cas("added", "x", None), m.cas("added", "y", None))
    value, cas = m.get("swap", get_cas=True)
    m.set("swap", "four")
    show("delete by cas", m.delete("swap", cas), m.get("swap"), m.delete("swap", m.gets("swap")[1]), m.get("swap"))

    show("incr", m.incr("n", 5, default=10), m.incr("n", 5, default=10), m.decr("n", 6), m.decr("n", 100), m.get("n"))
    show("decr", m.decr("down", 1, default=7), m.decr("down", 1, default=7), m.incr("zero", 3), said(m.incr, "nothing", 1, default=1, time=4294967295), m.get("nothing"))
    m.set("n", 2**64 - 1)
    show("wrap", m.incr("n", 2), m.get("n"))
    m.set("n", 99)
    show("wider, narrower", m.incr("n", 1), m.decr("n", 1), m.get("n"), m.incr("n", 5))
    show("incr text", said(m.incr, "text", 1), said(m.decr, "list", 1), m.get("text"))

    show("over", m.set("over", 1, time=3000000), m.get("over"), m.add("over", 2, time=2000), m.get("over"), m.set("never", 1, time=-1), m.get("never"))
    show("ends", m.set("ends", 1, time=int(time.time()) + 3000), m.get("ends"))
    for n in (249, 250):
        show("key of %d" % n, m.set("k" * n, n), m.get("k" * n))
    show("odd keys", m.set("schl\u00fcssel", 1), m.get("schl\u00fcssel"), m.get_multi(["schl\u00fcssel"]), m.set("with blank", 1), m.get("with blank"), m.set(b"bytes\xff", 1), m.get(b"bytes\xff"))
    for n in (251, 1000):  # a connection of its own: the server may end it
        show("key of %d" % n, said(bmemcached.ReplicatingClient(tuple(servers), socket_timeout=20).set, "k" * n, n))
    show("no password needed", bmemcached.Client(tuple(servers), "user", "password", socket_timeout=20).get("text"))

    stats = m.stats()[servers[0]]
    show("stats", sorted(stats))
    show("stats settings", sorted(m.stats("settings")[servers[0]]))
    show("stats items, slabs", len(m.stats("items")[servers[0]]) > 0, len(m.stats("slabs")[servers[0]]) > 0)
    show("reset", m.stats("reset"))
    m.disconnect_all()
    show("again", m.get("text"))


{"steps": steps, "spread": spread}[mode]()
print("done")
