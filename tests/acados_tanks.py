"""python acados_tanks.py BUNDLE: fill the three tanks of examples/tanks_do_mpc.py by acados.

Prints the status of the solver, 0 for success, and the level of the third tank after ten seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import casadi as ca
import numpy as np
from acados.acados_template import AcadosModel, AcadosOcp, AcadosOcpSolver

bundle = Path(sys.argv[1])
model = AcadosModel()
model.name, model.x, model.u = "tank_levels", ca.MX.sym("h", 3), ca.MX.sym("q")
model.f_expl_expr = ca.external("tanks_cas", str(bundle / "libtanks_casadi.so"))(ca.vertcat(model.x, model.u))
model.cost_expr_ext_cost_e = (model.x[2] - 1) ** 2
model.cost_expr_ext_cost = model.cost_expr_ext_cost_e + 0.01 * model.u**2

ocp = AcadosOcp(acados_path=str(Path(sys.modules["acados"].__file__).parent / "install"))
ocp.model, ocp.dims.N, ocp.solver_options.tf = model, 20, 10.0
ocp.cost.cost_type = ocp.cost.cost_type_e = "EXTERNAL"
ocp.constraints.x0 = np.full(3, 0.1)
ocp.constraints.lbu, ocp.constraints.ubu, ocp.constraints.idxbu = np.zeros(1), np.ones(1), np.zeros(1, int)
options = ocp.solver_options
options.integrator_type, options.nlp_solver_type, options.hessian_approx = "ERK", "SQP", "EXACT"
options.regularize_method = "PROJECT"
options.model_external_shared_lib_dir, options.model_external_shared_lib_name = str(bundle), "tanks_casadi"
solver = AcadosOcpSolver(ocp, json_file="ocp.json", verbose=False)
print(solver.solve(), solver.get(20, "x")[2])
