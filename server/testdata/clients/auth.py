"""What Python's clients say of a server that wants the password testpass of testuser. Usage: auth.py pylibmc|bmemcached steps SERVER"""
import sys
from show import said, show

library, _, server = sys.argv[1:]


def client(user, password):
    if library == "bmemcached":
        import bmemcached
        return bmemcached.Client((server,), user, password, socket_timeout=20)
    import pylibmc
    return pylibmc.Client([server], binary=True, username=user, password=password, behaviors={"_poll_timeout": 20000})


for name, user, password in (("right", "testuser", "testpass"), ("wrong", "testuser", "nonsense"), ("nobody", "nobody", "testpass")):
    def steps():
        m = client(user, password)
        show(name + " set", said(m.set, "k-" + name, "value", time=100))
        show(name + " get", said(m.get, "k-" + name))
        show(name + " many", said(m.set_multi, {"a-" + name: "1", "b-" + name: "2"}), said(m.get_multi, ["a-" + name, "b-" + name]))
        show(name + " delete", said(m.delete, "a-" + name))
        m.disconnect_all()
    show(name, said(steps))
print("done")
