def test_x(command, workplace, backtest_argv):
    import time
    for _ in range(2):
        t=time.time(); e = command(*backtest_argv(), cwd=workplace); print(time.time()-t, e.code, e.err, e.out[-300:])
    t=time.time(); e = command(*backtest_argv(source="nix"), cwd=workplace); print(time.time()-t, e)
    t=time.time(); e = command("data","check","nix", cwd=workplace); print(time.time()-t, e)
    import subprocess; print(subprocess.run("find . | sort; ls /tmp/quarterdeck-* | head", shell=True,cwd=workplace, capture_output=True,text=True).stdout)
    assert 0
