"""A node of the cluster dies; by its file's name the last test that uses the cluster."""


def test_a_node_is_lost(start_there, finish, read, wait_for, cluster, features, expected, tmp_path):
    out = tmp_path / "out"
    process = start_there(features, "--out", out)
    wait_for(3, out, process)
    cluster[0].stdin.write("lose a node\n")
    cluster[0].stdin.flush()
    code, err = finish(process)
    assert (code, read(out)) == (1, expected(features)), err
